#include "engine/convert/stock_layout.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "absl/types/span.h"

#include "engine/base/check.h"

namespace transmla {
namespace {

// C over the bound of |c|: |c|² / (2·C²) is then at most 2^-25, half of float32's rounding.
constexpr double kConstantOverBound = 4096;

// What a latent of `rank` elements, the constant included, is normed with and what undoes it.
struct HarmlessNorm {
  double constant = 0;  // C, a power of two: exact in every type
  double weight = 0;    // the norm's, of all elements but the constant; a power of two
  double undo = 0;      // times the next projection's columns of those elements
  double offset = 0;    // times a bias: the next projection's last column
};

// `bound` is of the Euclidean norm of the other elements.
HarmlessNorm MakeHarmlessNorm(double bound, int64_t rank) {
  HarmlessNorm norm;
  // At least 4096, beside which the norm's epsilon is nothing.
  norm.constant = std::exp2(std::ceil(std::log2(kConstantOverBound * std::max(bound, 1.0))));
  const double root = std::sqrt(static_cast<double>(rank));
  // The norm divides by C / √R. Its weights bring elements back to their size but for a factor from
  // 1/√2 to √2, which they could not hold in 16 bits; the next projection is rounded anyway.
  norm.weight = std::exp2(std::round(std::log2(norm.constant / root)));
  norm.undo = norm.constant / root / norm.weight;
  norm.offset = 1 / root;
  return norm;
}

// Of a matrix's elements it bounds what the matrix does to a vector's norm.
double Norm(absl::Span<const double> v) {
  double sum = 0;
  for (const double value : v) sum += value * value;
  return std::sqrt(sum);
}

// `m` with a zero row between its first `at` rows and the others.
Matrix WithZeroRow(const Matrix& m, int64_t at) {
  Matrix result(m.rows() + 1, m.cols());
  for (int64_t i = 0; i < m.rows(); ++i)
    std::copy_n(m.row(i).begin(), m.cols(), result.row(i < at ? i : i + 1).begin());
  return result;
}

// Columns times `scale`, and one column more: `bias` times `offset`, or zero.
Matrix WithBiasColumn(const Matrix& m, double scale, absl::Span<const double> bias, double offset) {
  Matrix result(m.rows(), m.cols() + 1);
  for (int64_t i = 0; i < m.rows(); ++i) {
    for (int64_t j = 0; j < m.cols(); ++j) result(i, j) = scale * m(i, j);
    if (!bias.empty()) result(i, m.cols()) = bias[i] * offset;
  }
  return result;
}

std::vector<double> NormWeights(int64_t elements, double weight, double of_constant) {
  std::vector<double> weights(elements, weight);
  weights.push_back(of_constant);
  return weights;
}

void ScaleQueries(const StockLayoutInput& input, Matrix& q, std::vector<double>& bias) {
  const int64_t nope = input.shape.qk_nope_head_dim;
  const int64_t width = nope + input.shape.qk_rope_head_dim;
  for (int64_t i = 0; i < q.rows(); ++i) {
    const double scale = input.query_scale * (i % width < nope ? 1 : input.rope_scale);
    for (double& value : q.row(i)) value *= scale;
    if (!bias.empty()) bias[i] *= scale;
  }
}

void MakeQueries(const LatentWeights& weights, const StockLayoutInput& input,
                 LatentWeights& result) {
  const int64_t hidden = weights.kv_a.cols();
  const bool whole = weights.q_a.empty();
  const Matrix q_a = whole ? Matrix::Identity(hidden) : weights.q_a;
  const double bound = input.hidden_norm * (whole ? 1 : Norm(q_a.values()));
  const HarmlessNorm norm = MakeHarmlessNorm(bound, q_a.rows() + 1);
  result.q_a = WithZeroRow(q_a, q_a.rows());
  result.q_a_bias.assign(q_a.rows(), 0);
  result.q_a_bias.push_back(norm.constant);
  result.q_a_norm = NormWeights(q_a.rows(), norm.weight, 1);
  Matrix q = weights.q;
  std::vector<double> bias = weights.q_bias;
  ScaleQueries(input, q, bias);
  result.q = WithBiasColumn(q, norm.undo, bias, norm.offset);
}

void MakeKeysAndValues(const LatentWeights& weights, const StockLayoutInput& input,
                       LatentWeights& result) {
  const int64_t rank = input.shape.kv_lora_rank;
  result.kv_a_bias = weights.kv_a_bias;
  result.kv_a_bias.resize(weights.kv_a.rows());
  const double bound =
      input.hidden_norm * Norm(weights.kv_a.values().first(rank * weights.kv_a.cols())) +
      Norm(absl::MakeConstSpan(result.kv_a_bias).first(rank));
  const HarmlessNorm norm = MakeHarmlessNorm(bound, rank + 1);
  result.kv_a = WithZeroRow(weights.kv_a, rank);
  result.kv_a_bias.insert(result.kv_a_bias.begin() + rank, norm.constant);
  // The latent's own bias carries those of keys and values: behind the norm the constant is not
  // needed, and is cached as 0.
  result.kv_a_norm = NormWeights(rank, norm.weight, 0);
  result.kv_b = WithBiasColumn(weights.kv_b, norm.undo, {}, 0);
}

}  // namespace

MlaSpec StockShape(const MlaSpec& shape, int hidden_size) {
  MlaSpec stock = shape;
  stock.kv_lora_rank += 1;
  stock.q_lora_rank = (shape.q_lora_rank > 0 ? shape.q_lora_rank : hidden_size) + 1;
  stock.latent_norm = true;
  return stock;
}

LatentWeights ToStockLayout(const LatentWeights& weights, const StockLayoutInput& input) {
  CHECK_EQ(weights.kv_a.rows(), input.shape.kv_lora_rank + input.shape.qk_rope_head_dim);
  CHECK(weights.kv_a_norm.empty());
  LatentWeights result;
  MakeQueries(weights, input, result);
  MakeKeysAndValues(weights, input, result);
  result.o = weights.o;
  result.o_bias = weights.o_bias;
  if (result.o_bias.empty()) result.o_bias.assign(weights.kv_a.cols(), 0);
  return result;
}

}  // namespace transmla
