// BpeTokenizer: byte-level BPE, as GPT-2, Llama 3, Qwen2 and SmolLM use it.
//
// Added tokens are cut out, the text between is normalised, cut into words and each word encoded.
#ifndef TRANSMLA_ENGINE_TOKENIZER_BPE_TOKENIZER_H_
#define TRANSMLA_ENGINE_TOKENIZER_BPE_TOKENIZER_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "engine/tokenizer/bpe_definition.h"
#include "engine/tokenizer/byte_bpe.h"
#include "engine/tokenizer/normalizer.h"
#include "engine/tokenizer/pretokenizer.h"
#include "engine/tokenizer/special_tokens.h"
#include "engine/tokenizer/tokenizer.h"
#include "engine/tokenizer/vocabulary.h"

namespace transmla {

class BpeTokenizer : public Tokenizer {
 public:
  // InvalidArgument, naming file, field and value, for tokens, merges, added tokens or steps that
  // contradict each other; Unimplemented for steps that are not supported.
  static absl::StatusOr<std::shared_ptr<const BpeTokenizer>> Create(BpeDefinition definition);

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
  enum class Kind : uint8_t { kNormal, kAdded, kControl };

  BpeTokenizer(const BpeDefinition& definition, Vocabulary vocabulary, ByteBpe bpe,
               Normalizer normalizer, Pretokenizer pretokenizer);

  // Text between raw added tokens: normalises it and looks for the normalised ones.
  absl::Status EncodeSection(absl::string_view text, bool parse_special, ByteBpe::Scratch& scratch,
                             std::vector<TokenId>& ids) const;
  absl::Status EncodeWords(absl::string_view text, ByteBpe::Scratch& scratch,
                           std::vector<TokenId>& ids) const;

  const Vocabulary vocabulary_;
  const ByteBpe bpe_;
  const Normalizer normalizer_;
  const Pretokenizer pretokenizer_;
  const SpecialTokens raw_added_;
  const SpecialTokens normalized_added_;
  const std::optional<TokenId> bos_;
  const bool add_bos_;
  const std::vector<TokenId> eos_;
  std::vector<Kind> kinds_;  // by id
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_TOKENIZER_BPE_TOKENIZER_H_
