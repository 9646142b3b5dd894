// SpecialTokens: finds added tokens in a text.
//
// As Hugging Face's AddedVocabulary: the leftmost token, and of those the longest; a token found is
// cut out of the text, and what is left and right of it is tokenised on its own.
#ifndef TRANSMLA_ENGINE_TOKENIZER_SPECIAL_TOKENS_H_
#define TRANSMLA_ENGINE_TOKENIZER_SPECIAL_TOKENS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"

#include "engine/tokenizer/tokenizer.h"

namespace transmla {

// An entry of tokenizer.json's "added_tokens".
struct AddedToken {
  TokenId id = 0;
  std::string text;
  bool special = false;      // a control token: user text never becomes one unless asked for
  bool single_word = false;  // only between characters that are not of words
  bool lstrip = false;       // takes white space on its left with it
  bool rstrip = false;       // and on its right
  bool normalized = false;   // looked for in the normalised text
};

// Immutable; thread-safe.
class SpecialTokens {
 public:
  struct Part {
    absl::string_view text;
    std::optional<TokenId> id;  // none: text between tokens, not empty
  };

  // Tokens with an empty text are never found.
  explicit SpecialTokens(std::vector<AddedToken> tokens);

  bool empty() const { return tokens_.empty(); }

  // Appends the parts of `text`. Unless `parse_special`, a special token's text stays text.
  // O(text.size() * the longest token). REQUIRES: `text` is UTF-8.
  void Split(absl::string_view text, bool parse_special, std::vector<Part>& parts) const;

 private:
  // The longest token that `text` starts with, or null.
  const AddedToken* Longest(absl::string_view text) const;

  std::vector<AddedToken> tokens_;
  // A tree of bytes: (node << 8 | byte) → node; node 0 is the root.
  absl::flat_hash_map<uint64_t, uint32_t> children_;
  std::vector<int32_t> token_of_node_;  // index in tokens_, or -1
  bool starts_[256] = {};               // bytes that tokens start with
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_TOKENIZER_SPECIAL_TOKENS_H_
