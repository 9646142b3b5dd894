#include "engine/convert/head_order.h"

#include <algorithm>

#include "engine/base/check.h"

namespace transmla {

HeadOrder MakeHeadOrder(int head_dim, int pairs, float magnitude) {
  const int half = head_dim / 2;
  CHECK_EQ(2 * half, head_dim);
  CHECK_LE(pairs, half);
  if (pairs == half) return {};
  HeadOrder order{.from = std::vector<int>(head_dim),
                  .scale = std::vector<float>(head_dim, 1 / magnitude)};
  for (int f = 0; f < half; ++f) {
    const bool turns = f < pairs;
    order.from[f] = turns ? f : pairs + f;
    order.from[half + f] = turns ? pairs + f : half + f;
    if (turns) order.scale[f] = order.scale[half + f] = 1;
  }
  return order;
}

void ReorderHeads(const HeadOrder& order, absl::Span<float> heads) {
  const size_t dim = order.from.size();
  if (dim == 0) return;
  CHECK_EQ(heads.size() % dim, 0u);
  std::vector<float> head(dim);
  for (size_t at = 0; at < heads.size(); at += dim) {
    for (size_t i = 0; i < dim; ++i) head[i] = order.scale[i] * heads[at + order.from[i]];
    std::copy(head.begin(), head.end(), heads.begin() + at);
  }
}

}  // namespace transmla
