#include "engine/convert/weighted_latent.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/linalg/product.h"
#include "engine/linalg/symmetric_eigen.h"

namespace transmla {
namespace {

// Directions with less than this share of the largest weight get that: nothing may weigh nothing,
// or what comes back of it would be undetermined.
constexpr double kLeastShareOfWeight = 1e-6;

// A weight's symmetric root and its inverse.
struct Root {
  Matrix root, inverse;
};
absl::StatusOr<Root> RootOf(const Matrix& weight) {
  const int64_t n = weight.rows();
  if (n == 0) return Root();
  ASSIGN_OR_RETURN(const SymmetricEigen eigen, DecomposeSymmetric(weight));
  const double least = eigen.values[0] * kLeastShareOfWeight;
  if (!(least > 0)) return Root{Matrix::Identity(n), Matrix::Identity(n)};
  Matrix scaled = eigen.vectors, unscaled = eigen.vectors;
  for (int64_t j = 0; j < n; ++j) {
    const double root = std::sqrt(std::max(eigen.values[j], least));
    for (int64_t i = 0; i < n; ++i) {
      scaled(i, j) *= root;
      unscaled(i, j) /= root;
    }
  }
  return Root{Multiply(scaled, Transpose::kNo, eigen.vectors, Transpose::kYes),
              Multiply(unscaled, Transpose::kNo, eigen.vectors, Transpose::kYes)};
}

// [a·x, 0; 0, y]
Matrix BlockDiagonal(const Matrix& x, double a, const Matrix& y) {
  Matrix result(x.rows() + y.rows(), x.rows() + y.rows());
  for (int64_t i = 0; i < x.rows(); ++i)
    for (int64_t j = 0; j < x.rows(); ++j) result(i, j) = a * x(i, j);
  for (int64_t i = 0; i < y.rows(); ++i)
    for (int64_t j = 0; j < y.rows(); ++j) result(x.rows() + i, x.rows() + j) = y(i, j);
  return result;
}

// Root of Σ over dimensions [begin, end) of the mean square of what the latent loses, relative to
// the whole.
double RelativeError(const Matrix& lost, const Matrix& whole, int64_t begin, int64_t end) {
  const double total = Trace(whole, begin, end);
  return total > 0 ? std::sqrt(std::max(Trace(lost, begin, end), 0.0) / total) : 0;
}

}  // namespace

absl::StatusOr<WeightedLatent> CompressWeighted(const WeightedLatentInput& input) {
  const int64_t width = input.moment->rows(), keys = input.key_weight->rows();
  const int64_t rank = input.kv_lora_rank;
  CHECK_EQ(keys + input.value_weight->rows(), width);
  CHECK_EQ(static_cast<int64_t>(input.centre.size()), width);
  CHECK(rank >= 1 && rank <= width);
  Matrix covariance = *input.moment;
  for (int64_t i = 0; i < width; ++i)
    for (int64_t j = 0; j < width; ++j) covariance(i, j) -= input.centre[i] * input.centre[j];

  ASSIGN_OR_RETURN(const Root key_root, RootOf(*input.key_weight));
  ASSIGN_OR_RETURN(const Root value_root, RootOf(*input.value_weight));
  const Matrix root = BlockDiagonal(key_root.root, input.balance, value_root.root);
  const Matrix inverse = BlockDiagonal(key_root.inverse, 1 / input.balance, value_root.inverse);
  ASSIGN_OR_RETURN(const SymmetricEigen eigen,
                   DecomposeSymmetric(Multiply(Multiply(root, covariance), root)));

  WeightedLatent result;
  for (const double value : eigen.values) result.costs.push_back(std::max(value, 0.0));
  const ConstMatrixView leading = eigen.vectors.block(0, 0, width, rank);
  result.map.encoder = Multiply(leading, Transpose::kYes, root, Transpose::kNo);
  result.map.decoder = Multiply(inverse, leading);
  result.map.centre.assign(input.centre.begin(), input.centre.end());

  // z − decoder·encoder·z = (1 − P)·z, whose moment is (1 − P)·C·(1 − P)ᵀ.
  Matrix rest = Multiply(result.map.decoder, result.map.encoder);
  for (double& value : rest.values()) value = -value;
  for (int64_t i = 0; i < width; ++i) rest(i, i) += 1;
  const Matrix lost = Multiply(Multiply(rest, covariance), Transpose::kNo, rest, Transpose::kYes);
  result.key_error = RelativeError(lost, *input.moment, 0, keys);
  result.value_error = RelativeError(lost, *input.moment, keys, width);
  return result;
}

}  // namespace transmla
