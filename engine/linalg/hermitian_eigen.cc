#include "engine/linalg/hermitian_eigen.h"

#include <cmath>
#include <complex>
#include <cstdint>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/linalg/symmetric_eigen.h"

namespace transmla {
namespace {

using Vector = std::vector<std::complex<double>>;

// [[A, −B], [B, A]] of A + i·B: it has every eigenvalue twice, once for x + i·y as (x, y) and once
// for i times that (Golub and Van Loan, "Matrix Computations", section 8.3).
Matrix RealForm(const Matrix& real, const Matrix& imag) {
  const int64_t n = real.rows();
  Matrix form(2 * n, 2 * n);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      form(i, j) = form(n + i, n + j) = real(i, j);
      form(n + i, j) = imag(i, j);
      form(i, n + j) = -imag(i, j);
    }
  }
  return form;
}

// Takes out of `vector` what lies along the orthonormal `others`; returns the square of what is
// left.
double Orthogonalise(const std::vector<Vector>& others, Vector& vector) {
  for (const Vector& other : others) {
    std::complex<double> along = 0;
    for (size_t i = 0; i < vector.size(); ++i) along += std::conj(other[i]) * vector[i];
    for (size_t i = 0; i < vector.size(); ++i) vector[i] -= along * other[i];
  }
  double square = 0;
  for (const std::complex<double>& element : vector) square += std::norm(element);
  return square;
}

}  // namespace

absl::StatusOr<HermitianEigen> DecomposeHermitian(const Matrix& real, const Matrix& imag) {
  const int64_t n = real.rows();
  CHECK_EQ(real.cols(), n);
  CHECK_EQ(imag.rows(), n);
  CHECK_EQ(imag.cols(), n);
  ASSIGN_OR_RETURN(const SymmetricEigen pairs, DecomposeSymmetric(RealForm(real, imag)));
  // Of each pair the first is taken, and the other, its multiple, leaves nothing. Where m
  // eigenvalues are equal, 2·m vectors span m complex dimensions, and as long as j < m are taken
  // one of the others has 2·(m − j)/(2·m − j) or more of its square left: a threshold below the
  // least of these, 2/(m + 1), takes m.
  const double threshold = 1 / static_cast<double>(n + 1);
  HermitianEigen result{.values = {}, .real = Matrix(n, n), .imag = Matrix(n, n)};
  std::vector<Vector> taken;
  for (int64_t column = 0; column < 2 * n && static_cast<int64_t>(taken.size()) < n; ++column) {
    Vector vector(n);
    for (int64_t i = 0; i < n; ++i)
      vector[i] = {pairs.vectors(i, column), pairs.vectors(n + i, column)};
    if (Orthogonalise(taken, vector) <= threshold) continue;
    // Once more: what the first pass left of rounding counts for more once it is scaled.
    const double norm = std::sqrt(Orthogonalise(taken, vector));
    const auto j = static_cast<int64_t>(taken.size());
    for (int64_t i = 0; i < n; ++i) {
      vector[i] /= norm;
      result.real(i, j) = vector[i].real();
      result.imag(i, j) = vector[i].imag();
    }
    result.values.push_back(pairs.values[column]);
    taken.push_back(std::move(vector));
  }
  if (static_cast<int64_t>(taken.size()) < n)
    return absl::InternalError("eigenvectors of a Hermitian matrix are not independent");
  return result;
}

}  // namespace transmla
