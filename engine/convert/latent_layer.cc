#include "engine/convert/latent_layer.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>

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

int64_t Rank(const LatentLayerPlan& plan) {
  const int64_t width = plan.key_map.rows();
  return plan.latent.encoder.empty() ? 2 * width - plan.qk_rope_head_dim
                                     : plan.latent.encoder.rows();
}

// Rows a head: the head's own rows of `q`, then those rows seen through the rope part of the query
// map; scaled. `q` is [H·d, columns]; the result [H·(d + Dr), columns].
Matrix WithRopeRows(const Matrix& q, const LatentLayerPlan& plan) {
  const int64_t d = plan.source.head_dim;
  const int64_t rope = plan.qk_rope_head_dim;
  const int64_t group = plan.source.num_attention_heads / plan.source.num_key_value_heads;
  Matrix result(plan.source.num_attention_heads * (d + rope), q.cols());
  for (int64_t head = 0; head < plan.source.num_attention_heads; ++head) {
    const Matrix turned = Multiply(plan.query_map.block(0, head / group * d, rope, d),
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
  const Matrix turned = Multiply(plan.key_map, k);
  Matrix stacked(keys + v.rows(), k.cols());
  for (int64_t i = 0; i < stacked.rows(); ++i) {
    const absl::Span<double> to = stacked.row(i);
    for (int64_t j = 0; j < k.cols(); ++j) to[j] = i < keys ? turned(rope + i, j) : v(i - keys, j);
  }
  const Matrix latent =
      plan.latent.encoder.empty() ? std::move(stacked) : Multiply(plan.latent.encoder, stacked);
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
  const int64_t rank = Rank(plan);
  const int64_t group = plan.source.num_attention_heads / plan.source.num_key_value_heads;
  const Matrix identity = plan.latent.decoder.empty() ? Matrix::Identity(rank) : Matrix();
  const Matrix& decoder = plan.latent.decoder.empty() ? identity : plan.latent.decoder;
  // A query scores what the position-free rows of its map make of it; rope dimensions contribute
  // elsewhere.
  const Matrix keys = Multiply(plan.query_map.block(rope, 0, width - rope, width), Transpose::kYes,
                               decoder.block(0, 0, width - rope, rank), Transpose::kNo);
  Matrix result(plan.source.num_attention_heads * 2 * d, rank);
  for (int64_t head = 0; head < plan.source.num_attention_heads; ++head) {
    for (int64_t i = 0; i < d; ++i) {
      const int64_t source_row = head / group * d + i;
      std::copy_n(keys.row(source_row).begin(), rank, result.row(head * 2 * d + i).begin());
      std::copy_n(decoder.row(width - rope + source_row).begin(), rank,
                  result.row(head * 2 * d + d + i).begin());
    }
  }
  return result;
}

// Takes the centre out of the latent rows of kv_a's bias.
void ShiftLatent(const LatentLayerPlan& plan, LatentWeights& weights) {
  const Matrix centre = Column(plan.latent.centre);
  const Matrix shift = plan.latent.encoder.empty() ? centre : Multiply(plan.latent.encoder, centre);
  weights.kv_a_bias.resize(weights.kv_a.rows());
  for (int64_t i = 0; i < shift.rows(); ++i) weights.kv_a_bias[i] -= shift(i, 0);
}

}  // namespace

double QueryScale(const ModelSpec& source, int qk_rope_head_dim) {
  return source.attention_scale *
         std::sqrt(static_cast<double>(source.gqa.head_dim + qk_rope_head_dim));
}

LatentWeights BuildLatentLayer(const GqaWeights& source, const LatentLayerPlan& plan) {
  const int64_t width = int64_t{plan.source.head_dim} * plan.source.num_key_value_heads;
  CHECK_EQ(source.k.rows(), width);
  CHECK_EQ(plan.key_map.rows(), width);
  CHECK_EQ(plan.query_map.rows(), width);
  LatentWeights result;
  result.behind_norms = source.behind_norms;
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
  if (!plan.latent.centre.empty()) ShiftLatent(plan, result);
  result.kv_b = Decoder(plan);
  result.inv_freq = plan.inv_freq;
  return result;
}

}  // namespace transmla
