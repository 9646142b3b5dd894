// Tokenizer: text to token ids and back.
//
// Immutable after construction, so thread-safe. Made by LoadTokenizer (load.h).
#ifndef TRANSMLA_ENGINE_TOKENIZER_TOKENIZER_H_
#define TRANSMLA_ENGINE_TOKENIZER_TOKENIZER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace transmla {

using TokenId = int32_t;

struct EncodeOptions {
  bool add_bos = true;  // put the beginning-of-text token first, if the model's tokenizer wants one
  bool parse_special =
      false;  // "<|im_start|>" in the text becomes the control token; otherwise it is text
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Ids of `text`; invalid UTF-8 is read as U+FFFD. InvalidArgument above kMaxTextBytes.
  virtual absl::StatusOr<std::vector<TokenId>> Encode(absl::string_view text,
                                                      const EncodeOptions& options) const = 0;
  // The bytes a token stands for; empty for control tokens and ids out of range.
  virtual std::string TokenBytes(TokenId id) const = 0;
  // Control tokens are hidden in output text unless asked for.
  virtual bool IsControl(TokenId id) const = 0;
  // The token's printable name, for control tokens too; empty out of range.
  virtual std::string TokenText(TokenId id) const = 0;
  virtual int vocab_size() const = 0;
  virtual std::optional<TokenId> bos() const = 0;
  // All tokens that end a generation (eos, <|im_end|>, <|eot_id|>, …).
  virtual absl::Span<const TokenId> eos() const = 0;
  virtual std::optional<TokenId> Find(absl::string_view token_text) const = 0;

  // The text of `ids`, with U+FFFD for bytes that are not UTF-8.
  std::string Decode(absl::Span<const TokenId> ids, bool skip_control) const;

  // A prompt of a million tokens is about 4 MB of text; more is a mistake or an attack.
  static constexpr size_t kMaxTextBytes = size_t{16} << 20;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_TOKENIZER_TOKENIZER_H_
