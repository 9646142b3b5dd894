// A Hugging Face folder's tokenizer as GGUF metadata: the inverse of bpe_gguf.h and
// sentencepiece_gguf.h.
//
// Source of the keys: the GGUF specification, "Tokenizer", and llama.cpp's keys beyond it.
#ifndef TRANSMLA_ENGINE_TOKENIZER_GGUF_EXPORT_H_
#define TRANSMLA_ENGINE_TOKENIZER_GGUF_EXPORT_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

#include "engine/format/checkpoint.h"
#include "engine/format/gguf.h"
#include "engine/tokenizer/tokenizer.h"

namespace transmla {

// Immutable.
class GgufTokenizer {
 public:
  // Of a folder that LoadTokenizer reads: with these entries it gives every text the same ids, and
  // the same chat template. None for a folder without a tokenizer. Tokens are filled up to
  // `num_tokens` with unused ones. Unimplemented, naming file and reason, if GGUF has no words for
  // what the tokenizer does; errors of LoadTokenizer.
  static absl::StatusOr<std::unique_ptr<const GgufTokenizer>> FromFolder(
      const CheckpointReader& checkpoint, int64_t num_tokens = 0);
  GgufTokenizer(const GgufTokenizer&) = delete;
  GgufTokenizer& operator=(const GgufTokenizer&) = delete;

  // Live as long as this.
  absl::Span<const GgufEntry> entries() const { return entries_; }

 private:
  friend class GgufTokenizerBuilder;
  GgufTokenizer() = default;

  void Text(absl::string_view key, std::string text);
  void Flag(absl::string_view key, bool value);
  void Id(absl::string_view key, std::optional<TokenId> id);
  void Texts(absl::string_view key, std::vector<std::string> texts);
  // `bytes` holds the elements as a file does.
  void Scalars(absl::string_view key, GgufType type, int64_t count, std::string bytes);

  std::vector<GgufEntry> entries_;
  std::deque<std::string> storage_;  // of what entries point to
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_TOKENIZER_GGUF_EXPORT_H_
