// StreamDecoder turns tokens into text as they come, and never emits half a UTF-8 character.
#ifndef TRANSMLA_ENGINE_TOKENIZER_STREAM_DECODER_H_
#define TRANSMLA_ENGINE_TOKENIZER_STREAM_DECODER_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/tokenizer/tokenizer.h"

namespace transmla {

// The texts of all Push calls and the Flush, joined, are Tokenizer::Decode of all ids, but for the
// control tokens that are shown.
// Thread-compatible.
class StreamDecoder {
 public:
  // Of control tokens, the text has those of `shown`, or all of them without `skip_control`.
  explicit StreamDecoder(std::shared_ptr<const Tokenizer> tokenizer, bool skip_control = true,
                         std::vector<TokenId> shown = {})
      : tokenizer_(std::move(tokenizer)), skip_control_(skip_control), shown_(std::move(shown)) {}

  // Text that is certain now; may be empty.
  std::string Push(TokenId id);
  // What is left at the end: an incomplete character becomes U+FFFD.
  std::string Flush();

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;
  const bool skip_control_;
  const std::vector<TokenId> shown_;
  std::string pending_;  // the first bytes of a character, at most 3
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_TOKENIZER_STREAM_DECODER_H_
