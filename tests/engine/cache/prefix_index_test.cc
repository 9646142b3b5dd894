#include "engine/cache/prefix_index.h"

#include <numeric>
#include <vector>

#include "gtest/gtest.h"

namespace transmla {
namespace {

std::vector<int32_t> PageOf(int32_t first) {
  std::vector<int32_t> tokens(kPageTokens);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

TEST(PrefixIndexTest, FindsAPageAfterItsOwnPrefixOnly) {
  PrefixIndex index(8);
  const auto a = index.Add(kNoPrefix, PageOf(0), 3);
  ASSERT_TRUE(a.has_value());
  const auto b = index.Add(*a, PageOf(100), 5);
  ASSERT_TRUE(b.has_value());
  EXPECT_NE(*a, *b);
  EXPECT_EQ(index.Find(kNoPrefix, PageOf(0))->place, 3);
  EXPECT_EQ(index.Find(kNoPrefix, PageOf(0))->id, *a);
  EXPECT_EQ(index.Find(*a, PageOf(100))->place, 5);
  EXPECT_FALSE(index.Find(kNoPrefix, PageOf(100)).has_value());
  EXPECT_FALSE(index.Find(*a, PageOf(0)).has_value());
  EXPECT_FALSE(index.Find(*b, PageOf(100)).has_value());
  EXPECT_EQ(index.size(), 2);
}

TEST(PrefixIndexTest, EveryTokenCounts) {
  PrefixIndex index(1);
  ASSERT_TRUE(index.Add(kNoPrefix, PageOf(0), 0).has_value());
  for (int i = 0; i < kPageTokens; ++i) {
    std::vector<int32_t> tokens = PageOf(0);
    ++tokens[i];
    EXPECT_FALSE(index.Find(kNoPrefix, tokens).has_value()) << i;
  }
}

TEST(PrefixIndexTest, WhatCameAfterAForgottenPageIsNotFoundAfterItsSuccessor) {
  PrefixIndex index(8);
  const auto first = index.Add(kNoPrefix, PageOf(0), 0);
  ASSERT_TRUE(index.Add(*first, PageOf(64), 1).has_value());
  index.Forget(0);
  index.Forget(0);  // ignored
  index.Forget(7);  // ignored
  EXPECT_FALSE(index.Has(0));
  EXPECT_TRUE(index.Has(1));
  EXPECT_FALSE(index.Find(kNoPrefix, PageOf(0)).has_value());
  // The same tokens again are another entry: page 1 might be from another life.
  const auto again = index.Add(kNoPrefix, PageOf(0), 2);
  ASSERT_TRUE(again.has_value());
  EXPECT_NE(*again, *first);
  EXPECT_FALSE(index.Find(*again, PageOf(64)).has_value());
  EXPECT_TRUE(index.Find(*first, PageOf(64)).has_value());
}

TEST(PrefixIndexDeathTest, MisuseStops) {
  PrefixIndex index(2);
  ASSERT_TRUE(index.Add(kNoPrefix, PageOf(0), 0).has_value());
  EXPECT_DEATH((void)index.Add(kNoPrefix, PageOf(1), 0), "CHECK failed");
  EXPECT_DEATH((void)index.Find(kNoPrefix, std::vector<int32_t>(63)), "CHECK failed");
}

}  // namespace
}  // namespace transmla
