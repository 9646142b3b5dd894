#include "engine/convert/head_order.h"

#include <algorithm>

#include "engine/base/check.h"

namespace transmla {

HeadOrder MakeHeadOrder(int head_dim, int pairs) {
  const int half = head_dim / 2;
  CHECK_EQ(2 * half, head_dim);
  CHECK_LE(pairs, half);
  if (pairs == half) return {};
  HeadOrder order(head_dim);
  for (int f = 0; f < half; ++f) {
    order[f] = f < pairs ? f : pairs + f;
    order[half + f] = f < pairs ? pairs + f : half + f;
  }
  return order;
}

void ReorderHeads(const HeadOrder& order, absl::Span<float> heads) {
  if (order.empty()) return;
  CHECK_EQ(heads.size() % order.size(), 0u);
  std::vector<float> head(order.size());
  for (size_t at = 0; at < heads.size(); at += order.size()) {
    for (size_t i = 0; i < order.size(); ++i) head[i] = heads[at + order[i]];
    std::copy(head.begin(), head.end(), heads.begin() + at);
  }
}

}  // namespace transmla
