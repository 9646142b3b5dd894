// Reference of the activations of gated feed-forward layers.
#ifndef TRANSMLA_TESTS_REFERENCE_ACTIVATION_H_
#define TRANSMLA_TESTS_REFERENCE_ACTIVATION_H_

#include <cmath>
#include <numbers>

namespace transmla::reference {

inline double Silu(double x) { return x / (1 + std::exp(-x)); }

// The approximation with tanh (arXiv 1606.08415).
inline double GeluTanh(double x) {
  return x / 2 * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
}

}  // namespace transmla::reference

#endif  // TRANSMLA_TESTS_REFERENCE_ACTIVATION_H_
