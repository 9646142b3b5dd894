#include "engine/base/checked_math.h"

#include <cstdint>
#include <limits>

#include "gtest/gtest.h"

namespace transmla {
namespace {

TEST(CheckedMathTest, OverflowIsNothing) {
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  constexpr int64_t kMin = std::numeric_limits<int64_t>::min();
  EXPECT_EQ(CheckedMul<int64_t>(kMax / 3, 3), kMax / 3 * 3);
  EXPECT_EQ(CheckedMul<int64_t>(kMax / 3 + 1, 3), std::nullopt);
  EXPECT_EQ(CheckedMul<int64_t>(kMin, -1), std::nullopt);
  EXPECT_EQ(CheckedMul<int64_t>(kMin, 1), kMin);
  EXPECT_EQ(CheckedAdd<int64_t>(kMax - 1, 1), kMax);
  EXPECT_EQ(CheckedAdd<int64_t>(kMax, 1), std::nullopt);
  EXPECT_EQ(CheckedAdd<int64_t>(kMin, -1), std::nullopt);
}

TEST(CheckedMathTest, UnsignedTypesWrapNoMoreThanSignedOnes) {
  EXPECT_EQ(CheckedMul<uint64_t>(uint64_t{1} << 32, uint64_t{1} << 32), std::nullopt);
  EXPECT_EQ(CheckedMul<uint64_t>(uint64_t{1} << 32, uint64_t{1} << 31), uint64_t{1} << 63);
  EXPECT_EQ(CheckedAdd<uint8_t>(200, 55), uint8_t{255});
  EXPECT_EQ(CheckedAdd<uint8_t>(200, 56), std::nullopt);
}

TEST(CheckedMathTest, RoundsUp) {
  EXPECT_EQ(CeilDiv(0, 7), 0);
  EXPECT_EQ(CeilDiv(1, 7), 1);
  EXPECT_EQ(CeilDiv(14, 7), 2);
  EXPECT_EQ(CeilDiv(15, 7), 3);
  // Without the sum that would overflow.
  EXPECT_EQ(CeilDiv(std::numeric_limits<int64_t>::max(), int64_t{2}), int64_t{1} << 62);
  EXPECT_EQ(AlignUp(0, 32), 0);
  EXPECT_EQ(AlignUp(1, 32), 32);
  EXPECT_EQ(AlignUp(64, 32), 64);
}

}  // namespace
}  // namespace transmla
