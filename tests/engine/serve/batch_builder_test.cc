#include "engine/serve/batch_builder.h"

#include <numeric>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace transmla {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class BatchBuilderTest : public testing::Test {
 protected:
  ~BatchBuilderTest() override {
    for (Sequence* sequence : {&prompt_, &decode_, &later_}) sequence->table.Release(pool_);
  }
  // Tokens first, first + 1, …
  void Fill(Sequence& sequence, int32_t first, int tokens, int computed) {
    sequence.tokens.resize(tokens);
    std::iota(sequence.tokens.begin(), sequence.tokens.end(), first);
    sequence.computed = computed;
    ASSERT_TRUE(sequence.table.Grow(pool_, tokens).ok());
  }

  PagePool pool_{20};
  Sequence prompt_, decode_, later_;
};

TEST_F(BatchBuilderTest, AnEmptyPlanIsAnEmptyBatch) {
  RaggedBatch batch;
  BuildBatch({}, batch);
  EXPECT_EQ(batch.tokens(), 0);
  EXPECT_EQ(batch.sequences(), 0);
  EXPECT_THAT(batch.sequence_starts, ElementsAre(0));
  EXPECT_THAT(batch.page_starts, ElementsAre(0));
}

TEST_F(BatchBuilderTest, DecodeAndChunksStandOneAfterTheOther) {
  Fill(decode_, 1000, 65, 64);  // its last token, on its second page
  Fill(prompt_, 2000, 200, 62);
  Fill(later_, 3000, 2, 0);
  Plan plan;
  plan.chunks = {{.sequence = &decode_, .tokens = 1, .logits = 1, .samples = true},
                 {.sequence = &prompt_, .tokens = 3},
                 {.sequence = &later_, .tokens = 2, .logits = 1, .samples = true}};
  RaggedBatch batch;
  BuildBatch(plan, batch);
  EXPECT_THAT(batch.token_ids, ElementsAre(1064, 2062, 2063, 2064, 3000, 3001));
  EXPECT_THAT(batch.positions, ElementsAre(64, 62, 63, 64, 0, 1));
  EXPECT_THAT(batch.sequence_starts, ElementsAre(0, 1, 4, 6));
  // The decode sees two pages; the prompt's chunk ends on its second of four; the last has one.
  EXPECT_THAT(batch.page_starts, ElementsAre(0, 2, 4, 5));
  EXPECT_THAT(batch.pages, ElementsAre(decode_.table.pages()[0], decode_.table.pages()[1],
                                       prompt_.table.pages()[0], prompt_.table.pages()[1],
                                       later_.table.pages()[0]));
  EXPECT_THAT(batch.logit_tokens, ElementsAre(0, 5));
}

TEST_F(BatchBuilderTest, PositionsSayWhichTokensAttendExpanded) {
  Fill(decode_, 1000, 300, 299);
  Fill(prompt_, 2000, 300, 60);
  Fill(later_, 3000, 2, 0);
  for (Sequence* sequence : {&decode_, &prompt_}) {
    sequence->expanded_begin = 64;
    sequence->expanded_end = 128;
  }
  const auto expanded = [this](int first, int tokens) {
    prompt_.computed = first;
    Plan plan;
    plan.chunks = {{.sequence = &decode_, .tokens = 1},
                   {.sequence = &prompt_, .tokens = tokens},
                   {.sequence = &later_, .tokens = 2}};
    RaggedBatch batch;
    BuildBatch(plan, batch);
    EXPECT_EQ(batch.expanded.size(), 3u);
    EXPECT_EQ(batch.expanded[0].tokens(), 0) << "a decode behind its prompt";
    EXPECT_EQ(batch.expanded[2].tokens(), 0) << "a sequence without a block";
    return std::pair(batch.expanded[1].begin, batch.expanded[1].end);
  };
  // The prompt's first token is the batch's second.
  EXPECT_EQ(expanded(60, 100), std::pair(1 + 4, 1 + 68));
  EXPECT_EQ(expanded(70, 20), std::pair(1, 21));
  EXPECT_EQ(expanded(100, 100), std::pair(1, 29));
  EXPECT_EQ(expanded(0, 64).second - expanded(0, 64).first, 0);
  EXPECT_EQ(expanded(128, 20).second - expanded(128, 20).first, 0);
}

TEST_F(BatchBuilderTest, AChunkThatEndsWithItsPageTakesNoMore) {
  Fill(prompt_, 0, 200, 0);
  Plan plan;
  plan.chunks = {{.sequence = &prompt_, .tokens = kPageTokens}};
  RaggedBatch batch;
  BuildBatch(plan, batch);
  EXPECT_THAT(batch.page_starts, ElementsAre(0, 1));
  EXPECT_THAT(batch.logit_tokens, IsEmpty());
}

TEST_F(BatchBuilderTest, NothingOfTheLastBatchStays) {
  Fill(prompt_, 0, 200, 0);
  Fill(later_, 5, 1, 0);
  RaggedBatch batch;
  Plan large;
  large.chunks = {{.sequence = &prompt_, .tokens = 200, .logits = 1, .samples = true}};
  BuildBatch(large, batch);
  ASSERT_EQ(batch.tokens(), 200);
  Plan small;
  small.chunks = {{.sequence = &later_, .tokens = 1, .logits = 1, .samples = true}};
  BuildBatch(small, batch);
  EXPECT_THAT(batch.token_ids, ElementsAre(5));
  EXPECT_THAT(batch.positions, ElementsAre(0));
  EXPECT_THAT(batch.sequence_starts, ElementsAre(0, 1));
  EXPECT_THAT(batch.page_starts, ElementsAre(0, 1));
  EXPECT_THAT(batch.logit_tokens, ElementsAre(0));
}

}  // namespace
}  // namespace transmla
