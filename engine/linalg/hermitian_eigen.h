// Eigenvalues and eigenvectors of a complex Hermitian matrix, kept as its real and imaginary parts.
#ifndef TRANSMLA_ENGINE_LINALG_HERMITIAN_EIGEN_H_
#define TRANSMLA_ENGINE_LINALG_HERMITIAN_EIGEN_H_

#include <vector>

#include "absl/status/statusor.h"

#include "engine/linalg/matrix.h"

namespace transmla {

struct HermitianEigen {
  std::vector<double> values;  // [n], descending
  // [n, n] each: column j of real + i·imag belongs to values[j]; the columns are orthonormal, and
  // the phase of each is arbitrary.
  Matrix real, imag;
};

// REQUIRES: `real` is symmetric and `imag` antisymmetric, both [n, n].
// DataLoss if an element is not finite; Internal if no method decomposes it. O(n³).
absl::StatusOr<HermitianEigen> DecomposeHermitian(const Matrix& real, const Matrix& imag);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_LINALG_HERMITIAN_EIGEN_H_
