// Reference of Linear and PerHeadLinear (engine/backend/op_args.h): plain loops in double.
#ifndef TRANSMLA_TESTS_REFERENCE_LINEAR_H_
#define TRANSMLA_TESTS_REFERENCE_LINEAR_H_

#include <cmath>
#include <cstdint>
#include <vector>

namespace transmla::reference {

struct Dot {
  double sum = 0;
  double magnitude = 0;  // Σ |w · x|: what rounding errors are proportional to
};

// Σ_k w[k] · x[k]
inline Dot DotProduct(const float* w, const float* x, int64_t k) {
  Dot dot;
  for (int64_t i = 0; i < k; ++i) {
    const double product = double{w[i]} * x[i];
    dot.sum += product;
    dot.magnitude += std::abs(product);
  }
  return dot;
}

// Bound on the error of a float dot product of k terms in any order (Higham, "Accuracy and
// Stability of Numerical Algorithms", section 3.1), with room for a bias and a residual.
inline double DotTolerance(const Dot& dot, int64_t k, double extra = 0) {
  return (k + 3) * 0x1p-24 * (dot.magnitude + std::abs(extra)) + 1e-37;
}

}  // namespace transmla::reference

#endif  // TRANSMLA_TESTS_REFERENCE_LINEAR_H_
