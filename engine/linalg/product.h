// Matrix products that can be trusted on every processor.
//
// BLAS does the work. Its result is then checked against the definition along a random direction
// (Freivalds, "Probabilistic machines can use less running time", 1977): C·x must equal A·(B·x) up
// to rounding. Debian 12's OpenBLAS has kernels that are wrong on processors newer than itself;
// where a check fails, plain loops compute the product again.
#ifndef TRANSMLA_ENGINE_LINALG_PRODUCT_H_
#define TRANSMLA_ENGINE_LINALG_PRODUCT_H_

#include "engine/linalg/matrix.h"

namespace transmla {

enum class Transpose { kNo, kYes };

// op(a) · op(b). REQUIRES: the inner dimensions agree (CHECKed). Not-finite input gives a
// not-finite result. O(m·n·k), with a check of O(m·n + m·k + k·n).
Matrix Multiply(const ConstMatrixView& a, Transpose transpose_a, const ConstMatrixView& b,
                Transpose transpose_b);
inline Matrix Multiply(const ConstMatrixView& a, const ConstMatrixView& b) {
  return Multiply(a, Transpose::kNo, b, Transpose::kNo);
}

namespace internal {

// The definition, in plain loops: what Multiply falls back to, and what tests compare with.
Matrix MultiplyPlainly(const ConstMatrixView& a, Transpose transpose_a, const ConstMatrixView& b,
                       Transpose transpose_b);

// Whether `c` is op(a) · op(b) up to rounding, judged along one random direction.
bool ProductIsRight(const ConstMatrixView& a, Transpose transpose_a, const ConstMatrixView& b,
                    Transpose transpose_b, const Matrix& c);

}  // namespace internal
}  // namespace transmla

#endif  // TRANSMLA_ENGINE_LINALG_PRODUCT_H_
