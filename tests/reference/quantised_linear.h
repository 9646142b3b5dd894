// Reference of products with 8-bit activations (engine/backend/cpu/activation_tiles.h): plain
// loops.
#ifndef TRANSMLA_TESTS_REFERENCE_QUANTISED_LINEAR_H_
#define TRANSMLA_TESTS_REFERENCE_QUANTISED_LINEAR_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace transmla::reference {

struct QuantisedRow {
  std::vector<float> values;  // scale · q
  std::vector<float> errors;  // at most so far from the element: half a scale
};

// x, whole blocks of 32, each rounded to 127 steps of its greatest magnitude on either side.
inline QuantisedRow QuantiseRow(const float* x, int64_t k) {
  QuantisedRow row;
  for (int64_t begin = 0; begin < k; begin += 32) {
    float greatest = 0;
    for (int64_t i = begin; i < begin + 32; ++i) greatest = std::max(greatest, std::abs(x[i]));
    const float scale = greatest / 127;
    const float inverse = greatest == 0 ? 0.0f : 127 / greatest;
    for (int64_t i = begin; i < begin + 32; ++i) {
      row.values.push_back(scale * std::nearbyint(x[i] * inverse));
      row.errors.push_back(scale / 2 * 1.0001f);  // the rounding of x · inverse may cross a half
    }
  }
  return row;
}

}  // namespace transmla::reference

#endif  // TRANSMLA_TESTS_REFERENCE_QUANTISED_LINEAR_H_
