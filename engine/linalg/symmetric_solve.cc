#include "engine/linalg/symmetric_solve.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include <lapacke.h>

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/linalg/product.h"

namespace transmla {
namespace {

absl::Status NotPositiveDefinite(int64_t n) {
  return absl::FailedPreconditionError(
      absl::StrCat("a [", n, ", ", n, "] matrix of a linear system is not positive definite"));
}

std::optional<Matrix> SolveByLapack(const Matrix& a, const Matrix& rows) {
  Matrix factor = a, x = rows;
  const int n = static_cast<int>(a.rows()), m = static_cast<int>(rows.rows());
  // Rows of a row-major matrix are columns of a column-major one.
  const int info =
      LAPACKE_dposv(LAPACK_COL_MAJOR, 'L', n, m, factor.values().data(), n, x.values().data(), n);
  if (info != 0) return std::nullopt;
  return x;
}

absl::Status CheckFinite(const Matrix& m) {
  for (const double value : m.values()) {
    if (!std::isfinite(value))
      return absl::DataLossError(absl::StrCat("an element of a linear system is ", value));
  }
  return absl::OkStatus();
}

}  // namespace

namespace internal {

absl::StatusOr<Matrix> SolveByCholesky(const Matrix& a, const Matrix& rows) {
  const int64_t n = a.rows();
  Matrix factor(n, n);  // lower triangle
  for (int64_t j = 0; j < n; ++j) {
    for (int64_t i = j; i < n; ++i) {
      double sum = a(i, j);
      for (int64_t k = 0; k < j; ++k) sum -= factor(i, k) * factor(j, k);
      if (i > j) {
        factor(i, j) = sum / factor(j, j);
      } else if (sum > 0) {
        factor(j, j) = std::sqrt(sum);
      } else {
        return NotPositiveDefinite(n);
      }
    }
  }
  Matrix x = rows;
  for (int64_t r = 0; r < x.rows(); ++r) {
    const absl::Span<double> row = x.row(r);
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t k = 0; k < i; ++k) row[i] -= factor(i, k) * row[k];
      row[i] /= factor(i, i);
    }
    for (int64_t i = n; i-- > 0;) {
      for (int64_t k = i + 1; k < n; ++k) row[i] -= factor(k, i) * row[k];
      row[i] /= factor(i, i);
    }
  }
  return x;
}

bool SolutionIsRight(const Matrix& a, const Matrix& rows, const Matrix& x) {
  const Matrix product = Multiply(x, a);
  double norm_a = 0;
  for (const double value : a.values()) norm_a += value * value;
  norm_a = std::sqrt(norm_a);
  // Cholesky's method is backward stable: each solution's residual is a modest multiple of
  // n · epsilon · ‖a‖ · ‖x‖ (Higham, "Accuracy and Stability of Numerical Algorithms",
  // section 10.1).
  const double epsilon =
      20 * static_cast<double>(a.rows() + 8) * std::numeric_limits<double>::epsilon();
  for (int64_t r = 0; r < x.rows(); ++r) {
    double residual = 0, size = 0;
    for (int64_t j = 0; j < x.cols(); ++j) {
      const double difference = product(r, j) - rows(r, j);
      residual += difference * difference;
      size += x(r, j) * x(r, j);
    }
    if (!(std::sqrt(residual) <= epsilon * norm_a * std::sqrt(size))) return false;
  }
  return true;
}

}  // namespace internal

absl::StatusOr<Matrix> SolveSymmetric(const Matrix& a, const Matrix& rows) {
  CHECK_EQ(a.rows(), a.cols());
  CHECK_EQ(rows.cols(), a.rows());
  RETURN_IF_ERROR(CheckFinite(a));
  RETURN_IF_ERROR(CheckFinite(rows));
  if (rows.empty()) return rows;
  if (std::optional<Matrix> x = SolveByLapack(a, rows);
      x.has_value() && internal::SolutionIsRight(a, rows, *x)) {
    return *std::move(x);
  }
  ASSIGN_OR_RETURN(Matrix x, internal::SolveByCholesky(a, rows));
  if (internal::SolutionIsRight(a, rows, x)) return x;
  return absl::InternalError(absl::StrCat("no solution of a [", a.rows(), ", ", a.rows(),
                                          "] linear system passes its residual check"));
}

}  // namespace transmla
