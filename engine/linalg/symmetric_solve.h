// Linear equations with a symmetric positive definite matrix.
//
// LAPACK's dposv does the work; the result is accepted only if its residual is that of rounding.
// Where it is not (a broken BLAS kernel), Cholesky's method computes it again in plain loops, and
// is checked alike.
#ifndef TRANSMLA_ENGINE_LINALG_SYMMETRIC_SOLVE_H_
#define TRANSMLA_ENGINE_LINALG_SYMMETRIC_SOLVE_H_

#include "absl/status/statusor.h"

#include "engine/linalg/matrix.h"

namespace transmla {

// X [m, n] with X · a = rows. REQUIRES: `a` is [n, n] and symmetric, `rows` [m, n].
// DataLoss if an element is not finite; FailedPrecondition if `a` is not positive definite up to
// rounding; Internal if no method gives a result that passes the check. O(n³ + m·n²).
absl::StatusOr<Matrix> SolveSymmetric(const Matrix& a, const Matrix& rows);

namespace internal {

// Cholesky's method in plain loops (Golub and Van Loan, "Matrix Computations", section 4.2).
// FailedPrecondition as above. Unchecked.
absl::StatusOr<Matrix> SolveByCholesky(const Matrix& a, const Matrix& rows);

// Whether `x` solves it up to rounding.
bool SolutionIsRight(const Matrix& a, const Matrix& rows, const Matrix& x);

}  // namespace internal
}  // namespace transmla

#endif  // TRANSMLA_ENGINE_LINALG_SYMMETRIC_SOLVE_H_
