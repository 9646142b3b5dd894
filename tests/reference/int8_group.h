// Reference of what an int8 cache gives back of a group of values under one scale.
#ifndef TRANSMLA_TESTS_REFERENCE_INT8_GROUP_H_
#define TRANSMLA_TESTS_REFERENCE_INT8_GROUP_H_

#include <algorithm>
#include <cmath>

namespace transmla::reference {

// Replaces n finite values, floats in effect, by what is read. Scale, quotient and product are
// float operations by definition: in double, a quotient beside a tie would go to the other
// neighbour. REQUIRES: the scale is 0 or not subnormal.
inline void RoundToInt8(double* values, int n) {
  double greatest = 0;
  for (int i = 0; i < n; ++i) greatest = std::max(greatest, std::abs(values[i]));
  const float scale = static_cast<float>(greatest) / 127.0f;
  for (int i = 0; i < n; ++i) {
    const float stored = scale == 0 ? 0 : std::nearbyint(static_cast<float>(values[i]) / scale);
    values[i] = stored * scale;
  }
}

}  // namespace transmla::reference

#endif  // TRANSMLA_TESTS_REFERENCE_INT8_GROUP_H_
