// Reference of the root mean square norm (arXiv 1910.07467).
#ifndef TRANSMLA_TESTS_REFERENCE_NORM_H_
#define TRANSMLA_TESTS_REFERENCE_NORM_H_

#include <cmath>
#include <cstdint>
#include <vector>

namespace transmla::reference {

// in[c] / sqrt(mean(in²) + eps) · weight[c] for c < n.
inline std::vector<double> RmsNorm(const float* in, const float* weight, double eps, int64_t n) {
  double squares = 0;
  for (int64_t c = 0; c < n; ++c) squares += double{in[c]} * in[c];
  const double root = std::sqrt(squares / static_cast<double>(n) + eps);
  std::vector<double> out(n);
  for (int64_t c = 0; c < n; ++c) out[c] = in[c] / root * weight[c];
  return out;
}

}  // namespace transmla::reference

#endif  // TRANSMLA_TESTS_REFERENCE_NORM_H_
