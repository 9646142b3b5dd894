#include "engine/tensor/int8_group.h"

#include <cmath>
#include <limits>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "engine/base/random.h"

namespace transmla {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

struct Group {
  float scale = 0;
  std::vector<int> stored;
};

Group Quantize(const std::vector<float>& values) {
  std::vector<int8_t> stored(values.size(), 99);
  const float scale =
      QuantizeInt8Group(values.data(), static_cast<int64_t>(values.size()), stored.data());
  return {scale, {stored.begin(), stored.end()}};
}

TEST(Int8GroupTest, RoundsToNearestTiesToEven) {
  const Group group = Quantize(
      {127, -127, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, 126.5f, 125.5f, 0.51f, -0.49f, 63.25f, -0.0f});
  EXPECT_EQ(group.scale, 1.0f);
  EXPECT_THAT(group.stored, ElementsAre(127, -127, 0, 2, 2, 0, -2, 126, 126, 1, 0, 63, 0));
}

TEST(Int8GroupTest, GreatestMagnitudeIs127) {
  Random random(1);
  for (int round = 0; round < 1000; ++round) {
    std::vector<float> values(1 + random.Below(130));
    const double size = std::exp2(-120.0 + static_cast<double>(random.Below(240)));
    for (float& value : values) value = static_cast<float>(random.Normal() * size);
    const Group group = Quantize(values);
    float greatest = 0;
    for (const float value : values) greatest = std::max(greatest, std::abs(value));
    ASSERT_EQ(group.scale, greatest / 127);
    for (size_t i = 0; i < values.size(); ++i) {
      if (std::abs(values[i]) == greatest) {
        EXPECT_EQ(std::abs(group.stored[i]), 127);
      }
      // Quotient and scale are each rounded by up to 2^-24 of at most 127.
      EXPECT_LE(std::abs(double{values[i]} - double{group.scale} * group.stored[i]),
                double{group.scale} * (0.5 + 127 * 0x1p-23))
          << values[i];
    }
  }
}

TEST(Int8GroupTest, ExtremesOfTheType) {
  const float greatest = std::numeric_limits<float>::max();
  const Group large = Quantize({greatest, -greatest, greatest / 4, 1.0f});
  EXPECT_EQ(large.scale, greatest / 127);
  EXPECT_THAT(large.stored, ElementsAre(127, -127, 32, 0));
  const float smallest = 127 * std::numeric_limits<float>::min();
  EXPECT_THAT(Quantize({smallest, -smallest / 2}).stored, ElementsAre(127, -64));
}

TEST(Int8GroupTest, NothingToScale) {
  for (const std::vector<float>& values :
       {std::vector<float>{}, {0, 0, 0}, {0, -0.0f}, {1e-45f, -1e-40f}, {1.4e-36f}}) {
    const Group group = Quantize(values);
    EXPECT_EQ(group.scale, 0.0f);
    EXPECT_THAT(group.stored, Each(0));
  }
}

TEST(Int8GroupTest, ValuesThatAreNotFiniteSpoilTheirGroup) {
  for (const float value : {kNan, -kNan, kInfinity, -kInfinity}) {
    for (const std::vector<float>& values :
         {std::vector<float>{value}, {1, value, 3}, {value, value}, {0, 0, value}}) {
      const Group group = Quantize(values);
      EXPECT_TRUE(std::isnan(group.scale));
      EXPECT_THAT(group.stored, Each(0));
    }
  }
}

}  // namespace
}  // namespace transmla
