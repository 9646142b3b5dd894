// Eigenvalues and eigenvectors of a real symmetric matrix.
//
// LAPACK's dsyevd does the work; the result is accepted only if A·V = V·Λ and VᵀV = I hold up to
// rounding. Where they do not (a broken BLAS kernel), the cyclic Jacobi method computes it again in
// plain loops, and is checked alike.
#ifndef TRANSMLA_ENGINE_LINALG_SYMMETRIC_EIGEN_H_
#define TRANSMLA_ENGINE_LINALG_SYMMETRIC_EIGEN_H_

#include <vector>

#include "absl/status/statusor.h"

#include "engine/linalg/matrix.h"

namespace transmla {

struct SymmetricEigen {
  std::vector<double> values;  // [n], descending
  Matrix
      vectors;  // [n, n]: column j belongs to values[j]; orthonormal; the sign of each is arbitrary
};

// REQUIRES: `a` is square and symmetric (the lower triangle is read).
// DataLoss if an element is not finite; Internal if no method gives a decomposition that passes the
// check. O(n³).
absl::StatusOr<SymmetricEigen> DecomposeSymmetric(const Matrix& a);

namespace internal {

// Cyclic Jacobi (Golub and Van Loan, "Matrix Computations", section 8.5). Unchecked. O(n³) a sweep,
// about ten sweeps.
SymmetricEigen DecomposeByJacobi(const Matrix& a);

// Whether `eigen` decomposes `a` up to rounding.
bool DecompositionIsRight(const Matrix& a, const SymmetricEigen& eigen);

}  // namespace internal
}  // namespace transmla

#endif  // TRANSMLA_ENGINE_LINALG_SYMMETRIC_EIGEN_H_
