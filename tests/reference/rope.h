// Reference of rotary position embedding (arXiv 2104.09864), pairs half-split.
#ifndef TRANSMLA_TESTS_REFERENCE_ROPE_H_
#define TRANSMLA_TESTS_REFERENCE_ROPE_H_

#include <cmath>
#include <vector>

namespace transmla::reference {

// Rotates head[i] with head[i + inv_freq.size()] by position · inv_freq[i], times `magnitude`.
inline void Rotate(double* head, const std::vector<float>& inv_freq, int position,
                   double magnitude) {
  const size_t pairs = inv_freq.size();
  for (size_t i = 0; i < pairs; ++i) {
    const double angle = position * double{inv_freq[i]};
    const double a = head[i];
    const double b = head[i + pairs];
    head[i] = (a * std::cos(angle) - b * std::sin(angle)) * magnitude;
    head[i + pairs] = (b * std::cos(angle) + a * std::sin(angle)) * magnitude;
  }
}

}  // namespace transmla::reference

#endif  // TRANSMLA_TESTS_REFERENCE_ROPE_H_
