#include "engine/cache/page_pool.h"

#include <algorithm>
#include <set>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "engine/base/random.h"

namespace transmla {
namespace {

TEST(PagePoolTest, HandsOutEachPageOnce) {
  PagePool pool(7);
  std::vector<PageId> pages;
  ASSERT_TRUE(pool.Take(3, pages).ok());
  ASSERT_TRUE(pool.Take(0, pages).ok());
  ASSERT_TRUE(pool.Take(4, pages).ok());
  EXPECT_THAT(pages, testing::UnorderedElementsAre(0, 1, 2, 3, 4, 5, 6));
  EXPECT_EQ(pool.free_pages(), 0);
  EXPECT_EQ(pool.used_pages(), 7);
}

TEST(PagePoolTest, TakesAllOrNone) {
  PagePool pool(3);
  std::vector<PageId> pages = {99};
  const absl::Status status = pool.Take(4, pages);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("4 cache pages wanted, 3 of 3"));
  EXPECT_THAT(pages, testing::ElementsAre(99));
  EXPECT_EQ(pool.free_pages(), 3);
}

TEST(PagePoolTest, AnEmptyPoolHasNothing) {
  PagePool pool(0);
  std::vector<PageId> pages;
  EXPECT_TRUE(pool.Take(0, pages).ok());
  EXPECT_FALSE(pool.Take(1, pages).ok());
}

TEST(PagePoolTest, ASharedPageIsFreeAfterItsLastUser) {
  PagePool pool(2);
  std::vector<PageId> pages;
  ASSERT_TRUE(pool.Take(1, pages).ok());
  const PageId page = pages[0];
  pool.Share(page);
  pool.Share(page);
  EXPECT_EQ(pool.users(page), 3);
  pool.Return(page);
  pool.Return(page);
  EXPECT_EQ(pool.users(page), 1);
  EXPECT_EQ(pool.free_pages(), 1);
  pool.Return(page);
  EXPECT_EQ(pool.users(page), 0);
  EXPECT_EQ(pool.free_pages(), 2);
}

TEST(PagePoolTest, PrefersThePageReturnedLast) {
  PagePool pool(5);
  std::vector<PageId> pages;
  ASSERT_TRUE(pool.Take(4, pages).ok());
  pool.Return(2);
  pool.Return(0);
  std::vector<PageId> again;
  ASSERT_TRUE(pool.Take(1, again).ok());
  EXPECT_THAT(again, testing::ElementsAre(0));
}

// Enters `page`, which must have a user, under its own number.
void Enter(PagePool& pool, PageId page) {
  ASSERT_TRUE(
      pool.index().Add(kNoPrefix, std::vector<int32_t>(kPageTokens, page), page).has_value());
}

TEST(PagePoolTest, KeepsWhatTheIndexFindsUntilNoOtherPageIsFree) {
  PagePool pool(4);
  std::vector<PageId> pages;
  ASSERT_TRUE(pool.Take(3, pages).ok());
  for (const PageId page : {1, 2}) Enter(pool, page);
  for (const PageId page : {2, 0, 1}) pool.Return(page);
  EXPECT_EQ(pool.free_pages(), 4);
  EXPECT_EQ(pool.kept_pages(), 2);
  std::vector<PageId> again;
  ASSERT_TRUE(pool.Take(2, again).ok());
  EXPECT_THAT(again, testing::UnorderedElementsAre(0, 3));
  EXPECT_TRUE(pool.index().Has(1));
  EXPECT_TRUE(pool.index().Has(2));
  ASSERT_TRUE(pool.Take(1, again).ok());
  EXPECT_EQ(again.back(), 2) << "unused longest";
  EXPECT_FALSE(pool.index().Has(2));
  EXPECT_EQ(pool.kept_pages(), 1);
  EXPECT_EQ(pool.free_pages(), 1);
}

TEST(PagePoolTest, AKeptPageMayBeSharedAgain) {
  PagePool pool(3);
  std::vector<PageId> pages;
  ASSERT_TRUE(pool.Take(3, pages).ok());
  for (const PageId page : {0, 1, 2}) {
    Enter(pool, page);
    pool.Return(page);
  }
  pool.Share(1);  // from the middle of the list
  EXPECT_EQ(pool.users(1), 1);
  EXPECT_EQ(pool.kept_pages(), 2);
  EXPECT_EQ(pool.used_pages(), 1);
  pool.Return(1);  // the newest now
  std::vector<PageId> again;
  ASSERT_TRUE(pool.Take(3, again).ok());
  EXPECT_THAT(again, testing::ElementsAre(0, 2, 1));
  EXPECT_EQ(pool.index().size(), 0);
}

TEST(PagePoolDeathTest, MisuseStops) {
  PagePool pool(2);
  std::vector<PageId> pages;
  ASSERT_TRUE(pool.Take(1, pages).ok());
  const PageId used = pages[0];
  const PageId free = 1 - used;
  EXPECT_DEATH(pool.Return(free), "CHECK failed");
  EXPECT_DEATH(pool.Share(free), "CHECK failed");
  EXPECT_DEATH(pool.users(2), "CHECK failed");
  EXPECT_DEATH(pool.users(-1), "CHECK failed");
  EXPECT_DEATH((void)pool.Take(-1, pages), "CHECK failed");
}

// Against a plain model of user counts.
TEST(PagePoolTest, KeepsCountThroughRandomUse) {
  constexpr uint64_t kSeed = 11;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  constexpr int kPages = 23;
  Random random(kSeed);
  PagePool pool(kPages);
  std::vector<int> users(kPages, 0);
  std::vector<PageId> holds;  // a page once a user
  for (int step = 0; step < 20000; ++step) {
    const int free = static_cast<int>(std::count(users.begin(), users.end(), 0));
    const uint64_t what = random.Below(3);
    if (what == 0) {
      const int count = static_cast<int>(random.Below(6));
      std::vector<PageId> taken;
      ASSERT_EQ(pool.Take(count, taken).ok(), count <= free);
      ASSERT_EQ(taken.size(), count <= free ? count : 0);
      for (const PageId page : taken) {
        ASSERT_EQ(users[page], 0) << "page " << page << " handed out twice";
        ++users[page];
        holds.push_back(page);
      }
    } else if (!holds.empty()) {
      const size_t at = random.Below(holds.size());
      const PageId page = holds[at];
      if (what == 1 && users[page] < 4) {
        pool.Share(page);
        ++users[page];
        holds.push_back(page);
      } else {
        pool.Return(page);
        --users[page];
        holds.erase(holds.begin() + static_cast<int>(at));
      }
    }
    for (PageId page = 0; page < kPages; ++page) ASSERT_EQ(pool.users(page), users[page]);
    ASSERT_EQ(pool.free_pages(), std::count(users.begin(), users.end(), 0));
  }
}

// Notes what is saved where, and loses a slot on demand.
class FakeStore : public PageStore {
 public:
  int slots() const override { return 2; }
  bool Save(PageId page, int slot) override {
    saved_[slot] = page;
    return !full_;
  }
  bool Load(int slot, PageId page) override {
    loaded_ = page;
    return slot != lost_;
  }
  int saved_[2] = {-1, -1};
  int lost_ = -1;
  PageId loaded_ = -1;
  bool full_ = false;
};

class PagePoolWithStoreTest : public testing::Test {
 protected:
  // Takes a page, enters it as the prefix of 64 equal tokens, and gives it back.
  PrefixIndex::Entry Keep(int32_t token) {
    std::vector<PageId> page;
    EXPECT_TRUE(pool_.Take(1, page).ok());
    const std::vector<int32_t> tokens(kPageTokens, token);
    EXPECT_TRUE(pool_.index().Add(kNoPrefix, tokens, page[0]).has_value());
    pool_.Return(page[0]);
    return *Find(token);
  }
  std::optional<PrefixIndex::Entry> Find(int32_t token) const {
    return pool_.index().Find(kNoPrefix, std::vector<int32_t>(kPageTokens, token));
  }
  FakeStore store_;
  PagePool pool_{2, &store_};
};

TEST_F(PagePoolWithStoreTest, ContentsGoToTheStoreAndComeBack) {
  const PrefixIndex::Entry first = Keep(1);
  Keep(2);
  Keep(3);  // no page is empty: the first goes
  EXPECT_EQ(pool_.stored(), 1);
  const auto stored = Find(1);
  ASSERT_TRUE(stored.has_value());
  EXPECT_EQ(stored->id, first.id);
  EXPECT_FALSE(pool_.InPage(*stored));
  const std::optional<PageId> page = pool_.Restore(*stored);  // in place of the second, which goes
  ASSERT_TRUE(page.has_value());
  EXPECT_EQ(store_.loaded_, *page);
  EXPECT_EQ(pool_.users(*page), 1);
  EXPECT_EQ(Find(1)->place, *page);
  EXPECT_FALSE(pool_.InPage(*Find(2)));
  EXPECT_EQ(pool_.stored(), 1);
  pool_.Return(*page);
  EXPECT_EQ(pool_.used_pages(), 0);
}

TEST_F(PagePoolWithStoreTest, WhatTheStoreHasLostIsForgotten) {
  Keep(1);
  Keep(2);
  Keep(3);
  store_.lost_ = Find(1)->place - pool_.total_pages();
  EXPECT_FALSE(pool_.Restore(*Find(1)).has_value());
  EXPECT_FALSE(Find(1).has_value());
  EXPECT_EQ(pool_.used_pages(), 0);
  EXPECT_EQ(pool_.free_pages(), 2);
}

TEST_F(PagePoolWithStoreTest, AFullStoreForgetsTheFirstAndAnEntryThatIsGoneIsNotRestored) {
  Keep(1);
  Keep(2);
  Keep(3);
  const PrefixIndex::Entry first = *Find(1);
  Keep(4);
  Keep(5);
  EXPECT_EQ(pool_.stored(), 2);
  EXPECT_FALSE(Find(1).has_value());
  EXPECT_TRUE(Find(2).has_value());
  EXPECT_FALSE(pool_.Restore(first).has_value());
}

TEST_F(PagePoolWithStoreTest, WhatCannotBeSavedIsForgotten) {
  store_.full_ = true;
  Keep(1);
  Keep(2);
  Keep(3);
  EXPECT_EQ(pool_.stored(), 0);
  EXPECT_FALSE(Find(1).has_value());
}

TEST_F(PagePoolWithStoreTest, APageThatWasComputedAgainTakesTheEntryBack) {
  Keep(1);
  Keep(2);
  Keep(3);
  std::vector<PageId> page;
  ASSERT_TRUE(pool_.Take(1, page).ok());
  const PrefixIndex::Entry entry = *Find(1);
  pool_.Reclaim(entry, page[0]);
  EXPECT_EQ(Find(1)->place, page[0]);
  EXPECT_EQ(Find(1)->id, entry.id);
  EXPECT_EQ(pool_.stored(), 1) << "of the page that was taken";
  pool_.Return(page[0]);
}

}  // namespace
}  // namespace transmla
