// Matrices for tests.
#ifndef TRANSMLA_TESTS_ENGINE_LINALG_RANDOM_MATRIX_H_
#define TRANSMLA_TESTS_ENGINE_LINALG_RANDOM_MATRIX_H_

#include <cstdint>

#include "engine/base/random.h"
#include "engine/linalg/matrix.h"

namespace transmla::testing {

// Of elements from the standard normal distribution.
inline Matrix RandomMatrix(int64_t rows, int64_t cols, uint64_t seed) {
  Random random(seed);
  Matrix m(rows, cols);
  for (double& value : m.values()) value = random.Normal();
  return m;
}

}  // namespace transmla::testing

#endif  // TRANSMLA_TESTS_ENGINE_LINALG_RANDOM_MATRIX_H_
