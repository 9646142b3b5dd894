// HeadOrder: RoPE over the first part of a head as RoPE over the whole head.
//
// A source that turns 2·p of a head's d dimensions pairs f with f + p (Hugging Face's halves of the
// part). Conversion works on heads whose halves are those of all d dimensions: the pairs that turn
// come first in each half, then those that do not, with a frequency of 0.
#ifndef TRANSMLA_ENGINE_CONVERT_HEAD_ORDER_H_
#define TRANSMLA_ENGINE_CONVERT_HEAD_ORDER_H_

#include <vector>

#include "absl/types/span.h"

namespace transmla {

struct HeadOrder {
  // Element i is the source's dimension that dimension i of a head is. Empty: all stay where they
  // are, in every head that turns whole.
  std::vector<int> from;
  // What they are multiplied by. RoPE may multiply what it turns by a magnitude; a latent model's
  // gives it to all pairs of the rope key, so those that do not turn are divided by it first.
  std::vector<float> scale;
};

// REQUIRES: head_dim is even, 0 < pairs <= head_dim / 2, magnitude is not 0.
HeadOrder MakeHeadOrder(int head_dim, int pairs, float magnitude);

// Puts the dimensions of heads side by side into that order, scaled.
void ReorderHeads(const HeadOrder& order, absl::Span<float> heads);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_HEAD_ORDER_H_
