// Limits of what a tokenizer's files may claim; see engine/format/limits.h for the rest.
#ifndef TRANSMLA_ENGINE_TOKENIZER_LIMITS_H_
#define TRANSMLA_ENGINE_TOKENIZER_LIMITS_H_

#include <cstdint>

namespace transmla {

// tokenizer.json: the largest published is 33 MB. As a tree it takes some ten times its bytes.
inline constexpr int64_t kMaxTokenizerJsonBytes = 96 << 20;
// tokenizer.model: the largest published is 5 MB.
inline constexpr int64_t kMaxSentencePieceBytes = 64 << 20;
// One token's text: the longest published are runs of 1,000 spaces.
inline constexpr int64_t kMaxTokenTextBytes = 1 << 16;
// Merges: the largest vocabularies have half a million.
inline constexpr int64_t kMaxMerges = 1 << 23;
// Added tokens: published models have up to 7,000. Each is looked for at every byte of a text.
inline constexpr int64_t kMaxAddedTokens = 1 << 16;
// One added token's text: tried at every byte of a text. The longest published are runs of 1,000
// spaces.
inline constexpr int64_t kMaxAddedTokenBytes = 1 << 11;
// One regular expression of a pre-tokeniser; the longest published has 5 KB.
inline constexpr int64_t kMaxPatternBytes = 1 << 16;
// Steps of a pre-tokeniser; published ones have up to five.
inline constexpr int64_t kMaxPretokenizerSteps = 32;
// Backtracking of one match. Patterns of real tokenizers need a few steps a character and match a
// word; a hostile pattern would otherwise run for years.
inline constexpr uint32_t kMaxMatchSteps = 20'000'000;
// Memory of one match, where it does not fit the stack.
inline constexpr uint32_t kMaxMatchKilobytes = 64 << 10;

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_TOKENIZER_LIMITS_H_
