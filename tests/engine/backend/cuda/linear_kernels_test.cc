// The device code of Linear, compiled as plain C++ (engine/backend/cuda/simt.h).
#include "engine/backend/cuda/linear_kernels.cuh"

#include <cmath>
#include <limits>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/base/random.h"
#include "engine/tensor/block_formats.h"

namespace transmla::cuda {
namespace {

using ::testing::Each;
using ::testing::ElementsAreArray;

constexpr uint16_t kNan = 0x7FC0;  // in BF16

// A thread for each element or more, and fewer threads than elements.
struct Grid {
  unsigned blocks;
  unsigned threads;
};
class LinearKernelsTest : public ::testing::TestWithParam<Grid> {
 protected:
  template <typename Kernel, typename... Args>
  void Launch(Kernel kernel, Args... args) {
    simt::Launch(GetParam().blocks, GetParam().threads, kernel, args...);
  }
};
INSTANTIATE_TEST_SUITE_P(Grids, LinearKernelsTest,
                         ::testing::Values(Grid{1, 1}, Grid{3, 5}, Grid{7, 32}),
                         [](const auto& test) {
                           return absl::StrCat(test.param.blocks, "x", test.param.threads);
                         });

TEST_P(LinearKernelsTest, TileHoldsTheTokensAndZeros) {
  const std::vector<uint16_t> in = {0x3F80, 0xC000, 0x0001, 0x7F7F, kNan, kNan};
  const int64_t used = 4;
  const int64_t size = 11;
  std::vector<uint16_t> bits(size + 1, kNan);
  Launch(LoadTileKernel<uint16_t>, in.data(), used, size, bits.data());
  EXPECT_THAT(bits, ElementsAreArray({0x3F80, 0xC000, 0x0001, 0x7F7F, 0, 0, 0, 0, 0, 0, 0, +kNan}));
  std::vector<float> widened(size + 1, -7.0f);
  Launch(LoadTileKernel<float>, in.data(), used, size, widened.data());
  EXPECT_THAT(widened, ElementsAreArray({1.0f, -2.0f, 0x1p-133f, 0x1.fep127f, 0.0f, 0.0f, 0.0f,
                                         0.0f, 0.0f, 0.0f, 0.0f, -7.0f}));
}

TEST_P(LinearKernelsTest, WidensEveryHalf) {
  std::vector<uint16_t> in(0x10000);
  for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<uint16_t>(i);
  std::vector<float> expected(in.size());
  DequantizeRow(DType::kF16, in.data(), absl::MakeSpan(expected));
  std::vector<float> out(in.size() + 1, -7.0f);
  Launch(WidenKernel, in.data(), static_cast<int64_t>(in.size()), out.data());
  for (size_t i = 0; i < in.size(); ++i) {
    if (std::isnan(expected[i])) {
      EXPECT_TRUE(std::isnan(out[i])) << i;
    } else {
      EXPECT_EQ(out[i], expected[i]) << i;
    }
  }
  EXPECT_EQ(out.back(), -7.0f);
}

TEST_P(LinearKernelsTest, AddsBiasAndResidualAsAsked) {
  const int64_t rows = 7;
  const int64_t size = 5 * rows;
  Random random(1);
  std::vector<float> sums(size + 1, std::numeric_limits<float>::quiet_NaN());
  std::vector<float> bias(rows);
  std::vector<uint16_t> residual(size + 1, 0x4110);
  for (int64_t i = 0; i < size; ++i) sums[i] = static_cast<float>(random.Normal());
  for (float& value : bias) value = static_cast<float>(random.Normal());
  for (int64_t i = 0; i < size; ++i) residual[i] = FloatToBf16(static_cast<float>(random.Normal()));
  for (const bool biased : {false, true}) {
    for (const bool accumulate : {false, true}) {
      SCOPED_TRACE(absl::StrCat("biased ", biased, " accumulate ", accumulate));
      std::vector<uint16_t> out = residual;
      // What is only written may hold anything before.
      if (!accumulate) std::fill(out.begin(), out.end() - 1, kNan);
      Launch(FinishKernel, sums.data(), biased ? bias.data() : nullptr, accumulate, rows, size,
             out.data());
      for (int64_t i = 0; i < size; ++i) {
        const double exact = double{sums[i]} + (biased ? bias[i % rows] : 0.0f) +
                             (accumulate ? Bf16ToFloat(residual[i]) : 0.0f);
        // BF16 keeps 8 bits; F32's own rounding is below its share.
        EXPECT_NEAR(Bf16ToFloat(out[i]), exact, 0x1.01p-8 * std::abs(exact) + 0x1p-22) << i;
      }
      EXPECT_EQ(out.back(), 0x4110);
    }
  }
}

// 1 + 2^-8 lies half way between two BF16 numbers and would go down to 1: the bias must come first.
TEST_P(LinearKernelsTest, RoundsOnce) {
  const float sum = 1.0f + 0x1p-8f;
  const float bias = 0x1p-20f;
  uint16_t out = 0;
  Launch(FinishKernel, &sum, &bias, false, int64_t{1}, int64_t{1}, &out);
  EXPECT_EQ(Bf16ToFloat(out), 1.0f + 0x1p-7f);
}

}  // namespace
}  // namespace transmla::cuda
