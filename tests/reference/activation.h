// Reference of the activations of gated feed-forward layers.
#ifndef TRANSMLA_TESTS_REFERENCE_ACTIVATION_H_
#define TRANSMLA_TESTS_REFERENCE_ACTIVATION_H_

#include <cmath>
#include <numbers>

namespace transmla::reference {

inline double Silu(double x) { return x / (1 + std::exp(-x)); }

// What the approximation of GELU with tanh (arXiv 1606.08415) takes the tanh of.
inline double GeluInner(double x) {
  return std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x);
}

// x / 2 · (1 + tanh(inner)), written so that it keeps its digits where tanh is near -1.
inline double GeluTanh(double x) { return x / (1 + std::exp(-2 * GeluInner(x))); }

}  // namespace transmla::reference

#endif  // TRANSMLA_TESTS_REFERENCE_ACTIVATION_H_
