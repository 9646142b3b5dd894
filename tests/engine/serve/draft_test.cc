#include "engine/serve/draft.h"

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "engine/base/random.h"

namespace transmla {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(DraftTest, WhatStoodBehindTheLastPlaceLikeThis) {
  Draft draft;
  const std::vector<int32_t> tokens = {1, 2, 3, 9, 1, 2, 3, 7, 8, 1, 2, 3};
  EXPECT_THAT(draft.Guess(tokens, 4), ElementsAre(7, 8, 1, 2));
  EXPECT_THAT(draft.Guess(tokens, 1), ElementsAre(7));
  EXPECT_THAT(draft.Guess(tokens, 0), IsEmpty());
}

TEST(DraftTest, ThreeTokensAlikeTellMoreThanTwo) {
  Draft draft;
  EXPECT_THAT(draft.Guess(std::vector<int32_t>{1, 2, 3, 5, 4, 2, 3, 6, 1, 2, 3}, 1),
              ElementsAre(5));
  Draft two;
  EXPECT_THAT(two.Guess(std::vector<int32_t>{2, 3, 5, 9, 2, 3}, 1), ElementsAre(5));
}

TEST(DraftTest, NothingWithoutARepetition) {
  Draft draft;
  EXPECT_THAT(draft.Guess(std::vector<int32_t>{1}, 4), IsEmpty());
  Draft other;
  EXPECT_THAT(other.Guess(std::vector<int32_t>{1, 2, 3, 4, 5}, 4), IsEmpty());
}

TEST(DraftTest, GrowingTextsGiveWhatANewDraftGives) {
  Random random(9);
  std::vector<int32_t> tokens;
  Draft growing;
  for (int i = 0; i < 500; ++i) {
    for (uint64_t k = 1 + random.Below(3); k > 0; --k) {
      tokens.push_back(static_cast<int32_t>(random.Below(4)));
    }
    Draft fresh;
    const auto expected = fresh.Guess(tokens, 5);
    const auto got = growing.Guess(tokens, 5);
    ASSERT_EQ(std::vector<int32_t>(got.begin(), got.end()),
              std::vector<int32_t>(expected.begin(), expected.end()));
  }
}

}  // namespace
}  // namespace transmla
