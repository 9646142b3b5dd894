#include "engine/backend/cuda/linear_plan.h"

#include <gtest/gtest.h>

namespace transmla::cuda {
namespace {

TEST(LinearPlanTest, WidenedRowsFitTheBufferAndAreNeverNone) {
  for (const int64_t k : {1, 3, 4096, 1 << 24, (1 << 24) + 1, 1 << 30}) {
    for (const int64_t rows : {1, 2, 4097, 200000}) {
      const int64_t step = WidenedRows(rows, k);
      EXPECT_GE(step, 1) << rows << " x " << k;
      EXPECT_LE(step, rows) << rows << " x " << k;
      const bool fits = step * k * int64_t{sizeof(float)} <= kWidenedBytes;
      EXPECT_TRUE(fits || step == 1) << rows << " x " << k;
      // One more would not fit.
      if (step < rows) {
        EXPECT_GT((step + 1) * k * int64_t{sizeof(float)}, kWidenedBytes);
      }
    }
  }
}

}  // namespace
}  // namespace transmla::cuda
