// SentencePieceTokenizer: BPE and unigram models over characters with byte fallback, as Llama 2,
// Mistral and Gemma use them, through libsentencepiece.
//
// A model usually puts a space before a text; it is part of the first token, so Decode gives it
// back: the text of Encode("a") is " a".
#ifndef TRANSMLA_ENGINE_TOKENIZER_SENTENCEPIECE_TOKENIZER_H_
#define TRANSMLA_ENGINE_TOKENIZER_SENTENCEPIECE_TOKENIZER_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "engine/tokenizer/sentencepiece_library.h"
#include "engine/tokenizer/special_tokens.h"
#include "engine/tokenizer/tokenizer.h"
#include "engine/tokenizer/vocabulary.h"

namespace transmla {

struct SentencePieceDefinition {
  std::string path;   // for messages
  std::string proto;  // a serialised ModelProto
  // Special tokens, and tokens behind the model's own pieces. Control pieces need not be named.
  std::vector<AddedToken> added;
  // The space goes before the text only, not also behind each control token (Hugging Face:
  // "legacy": false).
  bool prefix_once = false;
  std::optional<std::string> bos_text;  // the model's own if empty
  bool add_bos = true;                  // where there is one
  std::optional<std::string> eos_text;
  std::vector<TokenId> eos;  // beside eos_text and the model's own
};

class SentencePieceTokenizer : public Tokenizer {
 public:
  // InvalidArgument, naming file, field and value, for a broken model or added tokens that
  // contradict it.
  static absl::StatusOr<std::shared_ptr<const SentencePieceTokenizer>> Create(
      const SentencePieceDefinition& definition);

  absl::StatusOr<std::vector<TokenId>> Encode(absl::string_view text,
                                              const EncodeOptions& options) const override;
  std::string TokenBytes(TokenId id) const override;
  bool IsControl(TokenId id) const override;
  std::string TokenText(TokenId id) const override;
  int vocab_size() const override { return vocabulary_.size(); }
  std::optional<TokenId> bos() const override { return bos_; }
  absl::Span<const TokenId> eos() const override { return eos_; }
  std::optional<TokenId> Find(absl::string_view token_text) const override;

 private:
  enum class Kind : uint8_t { kNormal, kAdded, kByte, kUnknown, kControl };

  SentencePieceTokenizer(Vocabulary vocabulary, std::vector<AddedToken> added)
      : vocabulary_(std::move(vocabulary)), special_(std::move(added)) {}

  void FillKinds(const SentencePieceLibrary& library, absl::Span<const AddedToken> cut_out);
  // InvalidArgument for ids out of range.
  absl::Status FillRoles(const SentencePieceDefinition& definition,
                         const SentencePieceLibrary& library, absl::Span<const AddedToken> cut_out);

  const Vocabulary vocabulary_;
  const SpecialTokens special_;
  std::unique_ptr<const SentencePieceLibrary> first_;  // for what starts a text
  std::unique_ptr<const SentencePieceLibrary>
      later_;                // for what follows a token; null: as `first_`
  std::vector<Kind> kinds_;  // by id
  std::optional<TokenId> bos_;
  bool add_bos_ = false;
  std::vector<TokenId> eos_;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_TOKENIZER_SENTENCEPIECE_TOKENIZER_H_
