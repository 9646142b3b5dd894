// BannedWords: texts that must not come up in a completion, however they are cut into tokens.
//
// The set of words runs as one automaton (Aho and Corasick, "Efficient string matching", CACM 18:6,
// 1975); a token is not allowed if one of its bytes would complete a word.
#ifndef TRANSMLA_ENGINE_GRAMMAR_BANNED_WORDS_H_
#define TRANSMLA_ENGINE_GRAMMAR_BANNED_WORDS_H_

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

#include "engine/grammar/token_trie.h"

namespace transmla {

inline constexpr size_t kMaxBannedWords = 256;
inline constexpr size_t kMaxBannedBytes = 4096;  // of all of them

// Shared by the requests that ask for the same. Compile may run on any thread, the rest belongs to
// the engine's.
class BannedWords {
 public:
  using State = int32_t;
  static constexpr State kDead = -1;  // a word is complete
  static constexpr State kStart = 0;

  // InvalidArgument for an empty word, or more than the limits.
  static absl::StatusOr<std::shared_ptr<BannedWords>> Compile(
      absl::Span<const std::string> words, std::shared_ptr<const TokenTrie> tokens);

  State Next(State state, uint8_t byte) const { return next_[state][byte]; }
  // The state after more text.
  State After(State state, absl::string_view text) const;
  // The tokens that complete no word after `state`.
  const TokenMask& Allowed(State state);

 private:
  explicit BannedWords(std::shared_ptr<const TokenTrie> tokens) : tokens_(std::move(tokens)) {}
  void Build(absl::Span<const std::string> words);

  const std::shared_ptr<const TokenTrie> tokens_;
  std::vector<std::array<State, 256>> next_;
  absl::flat_hash_map<State, TokenMask> masks_;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_GRAMMAR_BANNED_WORDS_H_
