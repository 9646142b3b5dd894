#include "engine/convert/latent_layer.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "engine/base/check.h"
#include "engine/linalg/product.h"

namespace transmla {
namespace {

Matrix Column(const std::vector<double>& values) {
  Matrix column(static_cast<int64_t>(values.size()), 1);
  std::copy(values.begin(), values.end(), column.values().begin());
  return column;
}

std::vector<double> ToVector(const Matrix& column) {
  return {column.values().begin(), column.values().end()};
}

// Rows a head: the head's own rows of `q`, then those rows seen through the rope part of the
// rotation; scaled. `q` is [H·d, columns]; the result [H·(d + Dr), columns].
Matrix WithRopeRows(const Matrix& q, const LatentLayerPlan& plan) {
  const int64_t d = plan.source.head_dim;
  const int64_t rope = plan.qk_rope_head_dim;
  const int64_t group = plan.source.num_attention_heads / plan.source.num_key_value_heads;
  Matrix result(plan.source.num_attention_heads * (d + rope), q.cols());
  for (int64_t head = 0; head < plan.source.num_attention_heads; ++head) {
    const Matrix turned = Multiply(plan.rotation.block(0, head / group * d, rope, d),
                                   q.block(head * d, 0, d, q.cols()));
    for (int64_t i = 0; i < d + rope; ++i) {
      const absl::Span<const double> from = i < d ? q.row(head * d + i) : turned.row(i - d);
      const absl::Span<double> to = result.row(head * (d + rope) + i);
      const double scale = plan.query_scale * (i < d ? plan.nope_scale : 1);
      for (int64_t j = 0; j < q.cols(); ++j) to[j] = scale * from[j];
    }
  }
  return result;
}

// [latent rows; rope rows] of the projection of [k; v] given as `k` and `v`, [L, columns] each.
Matrix Encode(const Matrix& k, const Matrix& v, const LatentLayerPlan& plan) {
  const int64_t rope = plan.qk_rope_head_dim;
  const int64_t keys = k.rows() - rope;
  const Matrix turned = Multiply(plan.rotation, k);
  Matrix stacked(keys + v.rows(), k.cols());
  for (int64_t i = 0; i < stacked.rows(); ++i) {
    const absl::Span<double> to = stacked.row(i);
    for (int64_t j = 0; j < k.cols(); ++j)
      to[j] = i < keys ? turned(rope + i, j) / plan.latent.key_divisor : v(i - keys, j);
  }
  const Matrix latent = Multiply(plan.latent.basis, Transpose::kYes, stacked, Transpose::kNo);
  Matrix result(latent.rows() + rope, k.cols());
  for (int64_t i = 0; i < latent.rows(); ++i)
    std::copy_n(latent.row(i).begin(), k.cols(), result.row(i).begin());
  for (int64_t i = 0; i < rope; ++i)
    std::copy_n(turned.row(i).begin(), k.cols(), result.row(latent.rows() + i).begin());
  return result;
}

// Per head: d rows from the latent to the head's position-free key in its original coordinates,
// then d rows to its value.
Matrix Decoder(const LatentLayerPlan& plan) {
  const int64_t d = plan.source.head_dim;
  const int64_t width = d * plan.source.num_key_value_heads;
  const int64_t rope = plan.qk_rope_head_dim;
  const int64_t rank = plan.latent.basis.cols();
  const int64_t group = plan.source.num_attention_heads / plan.source.num_key_value_heads;
  // Turning back is the rotation's transpose; rope dimensions contribute elsewhere.
  const Matrix keys = Multiply(plan.rotation.block(rope, 0, width - rope, width), Transpose::kYes,
                               plan.latent.basis.block(0, 0, width - rope, rank), Transpose::kNo);
  Matrix result(plan.source.num_attention_heads * 2 * d, rank);
  for (int64_t head = 0; head < plan.source.num_attention_heads; ++head) {
    for (int64_t i = 0; i < d; ++i) {
      const int64_t source_row = head / group * d + i;
      const absl::Span<double> key_row = result.row(head * 2 * d + i);
      for (int64_t j = 0; j < rank; ++j) key_row[j] = plan.latent.key_divisor * keys(source_row, j);
      std::copy_n(plan.latent.basis.row(width - rope + source_row).begin(), rank,
                  result.row(head * 2 * d + d + i).begin());
    }
  }
  return result;
}

}  // namespace

double QueryScale(const ModelSpec& source, int qk_rope_head_dim) {
  return source.attention_scale *
         std::sqrt(static_cast<double>(source.gqa.head_dim + qk_rope_head_dim));
}

LatentWeights BuildLatentLayer(const GqaWeights& source, const LatentLayerPlan& plan) {
  const int64_t width = int64_t{plan.source.head_dim} * plan.source.num_key_value_heads;
  CHECK_EQ(source.k.rows(), width);
  CHECK_EQ(plan.rotation.rows(), width);
  CHECK_EQ(plan.latent.basis.rows(), 2 * width - plan.qk_rope_head_dim);
  LatentWeights result;
  if (plan.query_basis.empty()) {
    result.q = WithRopeRows(source.q, plan);
  } else {
    result.q_a = Multiply(plan.query_basis, Transpose::kYes, source.q, Transpose::kNo);
    result.q = WithRopeRows(plan.query_basis, plan);
  }
  result.kv_a = Encode(source.k, source.v, plan);
  if (!source.k_bias.empty()) {
    result.q_bias = ToVector(WithRopeRows(Column(source.q_bias), plan));
    result.kv_a_bias = ToVector(Encode(Column(source.k_bias), Column(source.v_bias), plan));
  }
  result.kv_b = Decoder(plan);
  result.inv_freq = plan.inv_freq;
  return result;
}

}  // namespace transmla
