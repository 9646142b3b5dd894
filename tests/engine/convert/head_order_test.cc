#include "engine/convert/head_order.h"

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace transmla {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(HeadOrderTest, PairsThatTurnStandAHalfApart) {
  EXPECT_THAT(MakeHeadOrder(8, 3, 1).from, ElementsAre(0, 1, 2, 6, 3, 4, 5, 7));
  EXPECT_THAT(MakeHeadOrder(10, 1, 1).from, ElementsAre(0, 2, 3, 4, 5, 1, 6, 7, 8, 9));
  EXPECT_THAT(MakeHeadOrder(8, 4, 2).from, IsEmpty());
}

TEST(HeadOrderTest, ReordersEveryHead) {
  std::vector<float> heads = {0, 1, 2, 3, 10, 11, 12, 13};
  ReorderHeads(MakeHeadOrder(4, 1, 1), absl::MakeSpan(heads));
  EXPECT_THAT(heads, ElementsAre(0, 2, 1, 3, 10, 12, 11, 13));
  ReorderHeads({}, absl::MakeSpan(heads));
  EXPECT_THAT(heads, ElementsAre(0, 2, 1, 3, 10, 12, 11, 13));
}

TEST(HeadOrderTest, WhatDoesNotTurnIsDividedByTheMagnitude) {
  std::vector<float> heads = {1, 2, 3, 4, 5, 6};
  ReorderHeads(MakeHeadOrder(6, 1, 2), absl::MakeSpan(heads));
  EXPECT_THAT(heads, ElementsAre(1, 1.5, 2, 2, 2.5, 3));
}

}  // namespace
}  // namespace transmla
