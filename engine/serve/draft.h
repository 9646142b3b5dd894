// Draft guesses the next tokens of a sequence from what it has said before (prompt lookup).
//
// The tokens behind the last earlier place where the sequence's last kLongest tokens stood, or else
// its last kShortest, are the guess. The model checks it in one step; a token that the model would
// not have drawn itself is dropped with all behind it, so that the text is the same.
#ifndef TRANSMLA_ENGINE_SERVE_DRAFT_H_
#define TRANSMLA_ENGINE_SERVE_DRAFT_H_

#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"

namespace transmla {

// Thread-compatible.
class Draft {
 public:
  static constexpr int kLongest = 3;
  static constexpr int kShortest = 2;

  // At most `most` tokens that may follow `tokens`, which are those of the call before and more.
  // Takes time in proportion to what is new.
  absl::Span<const int32_t> Guess(absl::Span<const int32_t> tokens, int most);

 private:
  // Where the last occurrence of n tokens ends, before the very last: index behind it.
  absl::flat_hash_map<uint64_t, int> ends_[kLongest - kShortest + 1];
  int indexed_ = 0;  // places before this one are in ends_
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_SERVE_DRAFT_H_
