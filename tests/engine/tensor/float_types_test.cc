#include "engine/tensor/float_types.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "gtest/gtest.h"

namespace transmla {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

bool IsNan16(uint16_t bits, int exponent_bits) {
  const int mantissa_bits = 15 - exponent_bits;
  const uint16_t exponent = bits >> mantissa_bits & ((1 << exponent_bits) - 1);
  return exponent == (1 << exponent_bits) - 1 && (bits & ((1 << mantissa_bits) - 1)) != 0;
}

// The nearest of two neighbours by comparing distances in double; the even one at a tie.
template <float (*kWiden)(uint16_t)>
uint16_t Nearest(uint16_t below, float value) {
  const auto above = static_cast<uint16_t>(below + 1);
  const double down = std::abs(double{value} - kWiden(below));
  const double up = std::abs(kWiden(above) - double{value});
  if (down != up) return down < up ? below : above;
  return below % 2 == 0 ? below : above;
}

TEST(Bf16Test, AllValuesSurvive) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const uint16_t back = FloatToBf16(Bf16ToFloat(half));
    if (IsNan16(half, 8)) {
      EXPECT_TRUE(IsNan16(back, 8)) << bits;
    } else {
      ASSERT_EQ(back, half);
    }
  }
}

TEST(Bf16Test, RoundsToNearestEven) {
  for (uint32_t bits = 0; bits < 0x7F80; bits += 7) {
    const auto below = static_cast<uint16_t>(bits);
    for (const uint32_t low : {0x0001u, 0x7FFFu, 0x8000u, 0x8001u, 0xFFFFu}) {
      const float value = std::bit_cast<float>(bits << 16 | low);
      if (below + 1 == 0x7F80) continue;  // the neighbour is infinite
      ASSERT_EQ(FloatToBf16(value), Nearest<Bf16ToFloat>(below, value)) << bits << " " << low;
      ASSERT_EQ(FloatToBf16(-value), FloatToBf16(value) | 0x8000);
    }
  }
  EXPECT_EQ(Bf16ToFloat(FloatToBf16(std::numeric_limits<float>::max())), kInfinity);
}

TEST(F16Test, AllValuesSurvive) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const uint16_t back = FloatToF16(F16ToFloat(half));
    if (IsNan16(half, 5)) {
      EXPECT_TRUE(std::isnan(F16ToFloat(half))) << bits;
      EXPECT_TRUE(IsNan16(back, 5)) << bits;
    } else {
      ASSERT_EQ(back, half);
    }
  }
}

TEST(F16Test, WidensExactly) {
  EXPECT_EQ(F16ToFloat(0x0001), 0x1p-24f);         // least subnormal
  EXPECT_EQ(F16ToFloat(0x03FF), 0x1p-24f * 1023);  // greatest subnormal
  EXPECT_EQ(F16ToFloat(0x0400), 0x1p-14f);         // least normal
  EXPECT_EQ(F16ToFloat(0x3C00), 1.0f);
  EXPECT_EQ(F16ToFloat(0x7BFF), 65504.0f);
  EXPECT_EQ(F16ToFloat(0xFC00), -kInfinity);
  EXPECT_TRUE(std::signbit(F16ToFloat(0x8000)));
}

TEST(F16Test, RoundsToNearestEven) {
  for (uint32_t bits = 0; bits + 1 < 0x7C00; ++bits) {
    const auto below = static_cast<uint16_t>(bits);
    const double a = F16ToFloat(below);
    const double b = F16ToFloat(static_cast<uint16_t>(bits + 1));
    for (const double part : {0.25, 0.5, 0.75}) {
      const auto value = static_cast<float>(a + (b - a) * part);
      ASSERT_EQ(FloatToF16(value), Nearest<F16ToFloat>(below, value)) << bits << " " << part;
      ASSERT_EQ(FloatToF16(-value), FloatToF16(value) | 0x8000);
    }
  }
}

TEST(F16Test, OverflowsToInfinity) {
  EXPECT_EQ(FloatToF16(65519.0f), 0x7BFF);
  EXPECT_EQ(FloatToF16(65520.0f), 0x7C00);
  EXPECT_EQ(FloatToF16(kInfinity), 0x7C00);
  EXPECT_EQ(FloatToF16(-1e30f), 0xFC00);
  EXPECT_EQ(FloatToF16(0x1p-26f), 0);
}

}  // namespace
}  // namespace transmla
