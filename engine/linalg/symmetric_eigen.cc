#include "engine/linalg/symmetric_eigen.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include <lapacke.h>

#include "engine/base/check.h"
#include "engine/linalg/product.h"

namespace transmla {
namespace {

// Columns and values in descending order of value.
SymmetricEigen SortDescending(const std::vector<double>& values, const Matrix& vectors) {
  std::vector<int64_t> order(values.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t i, int64_t j) { return values[i] > values[j]; });
  SymmetricEigen sorted{std::vector<double>(values.size()), Matrix(vectors.rows(), vectors.cols())};
  for (size_t j = 0; j < order.size(); ++j) {
    sorted.values[j] = values[order[j]];
    for (int64_t i = 0; i < vectors.rows(); ++i) sorted.vectors(i, j) = vectors(i, order[j]);
  }
  return sorted;
}

std::optional<SymmetricEigen> DecomposeByLapack(const Matrix& a) {
  Matrix vectors = a;
  std::vector<double> values(a.rows());
  const int n = static_cast<int>(a.rows());
  const int info =
      LAPACKE_dsyevd(LAPACK_ROW_MAJOR, 'V', 'L', n, vectors.values().data(), n, values.data());
  if (info != 0) return std::nullopt;
  return SortDescending(values, vectors);
}

double FrobeniusNorm(const Matrix& a) {
  double sum = 0;
  for (const double value : a.values()) sum += value * value;
  return std::sqrt(sum);
}

// Turns rows and columns p and q of the symmetric `a` so that a(p, q) becomes zero, and `v` along.
void JacobiRotation(Matrix& a, Matrix& v, int64_t p, int64_t q) {
  const double theta = (a(q, q) - a(p, p)) / (2 * a(p, q));
  const double t = std::copysign(1.0, theta) / (std::abs(theta) + std::hypot(theta, 1.0));
  const double c = 1 / std::hypot(t, 1.0);
  const double s = t * c;
  for (int64_t k = 0; k < a.rows(); ++k) {
    const double akp = a(k, p), akq = a(k, q);
    a(k, p) = c * akp - s * akq;
    a(k, q) = s * akp + c * akq;
  }
  for (int64_t k = 0; k < a.rows(); ++k) {
    const double apk = a(p, k), aqk = a(q, k);
    a(p, k) = c * apk - s * aqk;
    a(q, k) = s * apk + c * aqk;
    const double vkp = v(k, p), vkq = v(k, q);
    v(k, p) = c * vkp - s * vkq;
    v(k, q) = s * vkp + c * vkq;
  }
}

}  // namespace

namespace internal {

SymmetricEigen DecomposeByJacobi(const Matrix& a) {
  constexpr int kMaxSweeps =
      60;  // convergence is quadratic: ten suffice unless the input is not finite
  const int64_t n = a.rows();
  Matrix work = a;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = i + 1; j < n; ++j) work(i, j) = work(j, i);
  Matrix vectors = Matrix::Identity(n);
  const double small = FrobeniusNorm(work) * std::numeric_limits<double>::epsilon() /
                       std::max<double>(1, static_cast<double>(n));
  for (int sweep = 0; sweep < kMaxSweeps; ++sweep) {
    bool rotated = false;
    for (int64_t p = 0; p < n; ++p) {
      for (int64_t q = p + 1; q < n; ++q) {
        if (!(std::abs(work(p, q)) > small)) continue;
        JacobiRotation(work, vectors, p, q);
        rotated = true;
      }
    }
    if (!rotated) break;
  }
  std::vector<double> values(n);
  for (int64_t i = 0; i < n; ++i) values[i] = work(i, i);
  return SortDescending(values, vectors);
}

bool DecompositionIsRight(const Matrix& a, const SymmetricEigen& eigen) {
  const int64_t n = a.rows();
  // Backward stable methods leave a residual of a modest multiple of n · epsilon · ‖A‖.
  const double epsilon = 20 * static_cast<double>(n + 8) * std::numeric_limits<double>::epsilon();
  Matrix full = a;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = i + 1; j < n; ++j) full(i, j) = full(j, i);

  Matrix residual = Multiply(full, eigen.vectors);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j) residual(i, j) -= eigen.vectors(i, j) * eigen.values[j];
  if (!(FrobeniusNorm(residual) <= epsilon * FrobeniusNorm(full))) return false;

  Matrix gram = Multiply(eigen.vectors, Transpose::kYes, eigen.vectors, Transpose::kNo);
  for (int64_t i = 0; i < n; ++i) gram(i, i) -= 1;
  return FrobeniusNorm(gram) <= epsilon * std::sqrt(static_cast<double>(n));
}

}  // namespace internal

absl::StatusOr<SymmetricEigen> DecomposeSymmetric(const Matrix& a) {
  CHECK_EQ(a.rows(), a.cols());
  for (int64_t i = 0; i < a.rows(); ++i) {
    for (int64_t j = 0; j <= i; ++j) {
      if (!std::isfinite(a(i, j)))
        return absl::DataLossError(
            absl::StrCat("element (", i, ", ", j, ") of a symmetric matrix is ", a(i, j)));
    }
  }
  if (a.empty()) return SymmetricEigen{};
  if (std::optional<SymmetricEigen> eigen = DecomposeByLapack(a);
      eigen.has_value() && internal::DecompositionIsRight(a, *eigen)) {
    return *std::move(eigen);
  }
  SymmetricEigen eigen = internal::DecomposeByJacobi(a);
  if (internal::DecompositionIsRight(a, eigen)) return eigen;
  return absl::InternalError(absl::StrCat("no eigendecomposition of a [", a.rows(), ", ", a.rows(),
                                          "] matrix passes its residual check"));
}

}  // namespace transmla
