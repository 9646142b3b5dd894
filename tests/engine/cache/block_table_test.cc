#include "engine/cache/block_table.h"

#include <set>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace transmla {
namespace {

TEST(BlockTableTest, PagesForRoundsUp) {
  EXPECT_EQ(BlockTable::PagesFor(0), 0);
  EXPECT_EQ(BlockTable::PagesFor(1), 1);
  EXPECT_EQ(BlockTable::PagesFor(kPageTokens - 1), 1);
  EXPECT_EQ(BlockTable::PagesFor(kPageTokens), 1);
  EXPECT_EQ(BlockTable::PagesFor(kPageTokens + 1), 2);
  EXPECT_EQ(BlockTable::PagesFor(10 * kPageTokens), 10);
}

TEST(BlockTableTest, GrowsOnlyByWhatIsMissingAndKeepsItsPages) {
  PagePool pool(4);
  BlockTable table;
  ASSERT_TRUE(table.Grow(pool, 1).ok());
  const std::vector<PageId> first(table.pages().begin(), table.pages().end());
  ASSERT_EQ(first.size(), 1);
  ASSERT_TRUE(table.Grow(pool, kPageTokens).ok());  // still fits
  EXPECT_EQ(table.pages().size(), 1);
  ASSERT_TRUE(table.Grow(pool, 2 * kPageTokens + 1).ok());
  ASSERT_EQ(table.pages().size(), 3);
  EXPECT_EQ(table.pages()[0], first[0]);
  ASSERT_TRUE(table.Grow(pool, 5).ok());  // never shrinks
  EXPECT_EQ(table.pages().size(), 3);
  EXPECT_EQ(std::set<PageId>(table.pages().begin(), table.pages().end()).size(), 3);
  EXPECT_EQ(pool.used_pages(), 3);
  table.Release(pool);
  EXPECT_TRUE(table.pages().empty());
  EXPECT_EQ(pool.used_pages(), 0);
}

TEST(BlockTableTest, AFailedGrowChangesNothing) {
  PagePool pool(3);
  BlockTable first, second;
  ASSERT_TRUE(first.Grow(pool, 2 * kPageTokens).ok());
  const std::vector<PageId> before(first.pages().begin(), first.pages().end());
  EXPECT_EQ(first.Grow(pool, 4 * kPageTokens).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(first.pages(), testing::ElementsAreArray(before));
  EXPECT_EQ(pool.free_pages(), 1);
  EXPECT_TRUE(second.Grow(pool, kPageTokens).ok());
  EXPECT_EQ(second.Grow(pool, kPageTokens + 1).code(), absl::StatusCode::kResourceExhausted);
  first.Release(pool);
  EXPECT_TRUE(second.Grow(pool, kPageTokens + 1).ok());
  second.Release(pool);
  EXPECT_EQ(pool.free_pages(), 3);
}

TEST(BlockTableTest, SharesAndReplacesPages) {
  PagePool pool(4);
  BlockTable owner, other;
  ASSERT_TRUE(owner.Grow(pool, 2 * kPageTokens).ok());
  pool.Share(owner.pages()[0]);
  other.Adopt(owner.pages()[0]);
  ASSERT_TRUE(other.Grow(pool, 2 * kPageTokens).ok());
  EXPECT_EQ(other.pages()[0], owner.pages()[0]);
  EXPECT_EQ(pool.used_pages(), 3);
  other.Replace(pool, 1, owner.pages()[1]);
  EXPECT_EQ(other.pages()[1], owner.pages()[1]);
  EXPECT_EQ(pool.used_pages(), 2);
  owner.Release(pool);
  EXPECT_EQ(pool.used_pages(), 2);
  other.Release(pool);
  EXPECT_EQ(pool.used_pages(), 0);
}

TEST(BlockTableTest, OfThePagesKeptTheLastGoesFirst) {
  PagePool pool(3);
  BlockTable table;
  ASSERT_TRUE(table.Grow(pool, 3 * kPageTokens).ok());
  const std::vector<PageId> pages(table.pages().begin(), table.pages().end());
  PrefixId before = kNoPrefix;
  for (const PageId page : pages) {
    before = *pool.index().Add(before, std::vector<int32_t>(kPageTokens, 1), page);
  }
  table.Release(pool);
  std::vector<PageId> taken;
  ASSERT_TRUE(pool.Take(2, taken).ok());
  EXPECT_THAT(taken, testing::ElementsAre(pages[2], pages[1]));
  EXPECT_TRUE(pool.index().Has(pages[0]));
}

TEST(BlockTableTest, ReleaseTwiceIsHarmless) {
  PagePool pool(1);
  BlockTable table;
  ASSERT_TRUE(table.Grow(pool, 3).ok());
  table.Release(pool);
  table.Release(pool);
  EXPECT_EQ(pool.free_pages(), 1);
}

}  // namespace
}  // namespace transmla
