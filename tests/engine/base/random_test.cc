#include "engine/base/random.h"

#include <cmath>
#include <set>
#include <vector>

#include "gtest/gtest.h"

namespace transmla {
namespace {

constexpr int kDraws = 100000;

// Recorded conversions and samples depend on these very numbers: SplitMix64's published outputs
// for the seed 1234567.
TEST(RandomTest, DrawsArePublishedOnes) {
  Random random(1234567);
  EXPECT_EQ(random(), 6457827717110365317u);
  EXPECT_EQ(random(), 3203168211198807973u);
  EXPECT_EQ(random(), 9817491932198370423u);
  EXPECT_EQ(random(), 4593380528125082431u);
  EXPECT_EQ(random(), 16408922859458223821u);
}

TEST(RandomTest, UniformFillsItsRange) {
  Random random(1);
  double sum = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double u = random.Uniform();
    ASSERT_GE(u, 0);
    ASSERT_LT(u, 1);
    sum += u;
  }
  // Six standard deviations of the mean.
  EXPECT_NEAR(sum / kDraws, 0.5, 6 * std::sqrt(1.0 / 12 / kDraws));
}

TEST(RandomTest, BelowGivesEachNumberItsShare) {
  Random random(2);
  std::vector<int> counts(7);
  for (int i = 0; i < kDraws; ++i) ++counts.at(random.Below(7));
  for (const int count : counts) {
    EXPECT_NEAR(count, kDraws / 7.0, 6 * std::sqrt(kDraws / 7.0));
  }
  EXPECT_EQ(random.Below(1), 0u);
}

TEST(RandomTest, NormalHasItsMoments) {
  Random random(3);
  double sum = 0;
  double squares = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double x = random.Normal();
    sum += x;
    squares += x * x;
  }
  EXPECT_NEAR(sum / kDraws, 0, 6 / std::sqrt(kDraws));
  EXPECT_NEAR(squares / kDraws, 1, 6 * std::sqrt(2.0 / kDraws));
}

TEST(RandomTest, SplitsAreIndependentOfDrawsAndOfEachOther) {
  const Random parent(4);
  EXPECT_EQ(parent.Split("weights")(), parent.Split("weights")());
  std::set<uint64_t> first_draws = {Random(parent)(), parent.Split("weights")(),
                                    parent.Split("weight")(), parent.Split("")()};
  for (uint64_t i = 0; i < 1000; ++i) first_draws.insert(parent.Split(i)());
  // The empty name is the parent itself; all others differ.
  EXPECT_EQ(first_draws.size(), 3u + 1000u);
}

}  // namespace
}  // namespace transmla
