#include "engine/convert/equivalent.h"

#include <algorithm>
#include <cstdint>

#include "engine/base/check.h"

namespace transmla {
namespace {

// Row of the rope part, pairs side by side, that old row `dim` of head slot `slot` becomes.
int64_t InterleavedRow(int64_t slot, int64_t dim, int64_t head_dim) {
  const int64_t pairs = head_dim / 2;
  return slot * head_dim + 2 * (dim % pairs) + dim / pairs;
}

}  // namespace

LatentWeights BuildEquivalentLayer(const GqaWeights& source, const GqaSpec& spec,
                                   absl::Span<const float> inv_freq) {
  const int64_t d = spec.head_dim;
  const int64_t width = d * spec.num_key_value_heads;
  const int64_t heads = spec.num_attention_heads;
  const int64_t group = heads / spec.num_key_value_heads;
  const bool biased = !source.k_bias.empty();
  CHECK_EQ(static_cast<int64_t>(inv_freq.size()) * 2, d);

  LatentWeights result;
  result.behind_norms = source.behind_norms;
  result.q = Matrix(heads * width, source.q.cols());
  if (biased) result.q_bias.assign(heads * width, 0);
  for (int64_t head = 0; head < heads; ++head) {
    for (int64_t i = 0; i < d; ++i) {
      const int64_t to = head * width + InterleavedRow(head / group, i, d);
      std::copy_n(source.q.row(head * d + i).begin(), source.q.cols(), result.q.row(to).begin());
      if (biased) result.q_bias[to] = source.q_bias[head * d + i];
    }
  }

  result.kv_a = Matrix(2 * width, source.k.cols());
  if (biased) result.kv_a_bias.assign(2 * width, 0);
  for (int64_t i = 0; i < width; ++i) {
    const int64_t rope_row = width + InterleavedRow(i / d, i % d, d);
    std::copy_n(source.v.row(i).begin(), source.v.cols(), result.kv_a.row(i).begin());
    std::copy_n(source.k.row(i).begin(), source.k.cols(), result.kv_a.row(rope_row).begin());
    if (biased) result.kv_a_bias[i] = source.v_bias[i];
    if (biased) result.kv_a_bias[rope_row] = source.k_bias[i];
  }

  result.kv_b = Matrix(heads * d, width);
  for (int64_t head = 0; head < heads; ++head)
    for (int64_t i = 0; i < d; ++i) result.kv_b(head * d + i, head / group * d + i) = 1;

  for (int slot = 0; slot < spec.num_key_value_heads; ++slot)
    result.inv_freq.insert(result.inv_freq.end(), inv_freq.begin(), inv_freq.end());
  return result;
}

}  // namespace transmla
