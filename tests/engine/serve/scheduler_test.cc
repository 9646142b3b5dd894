// The policy, case by case. What must hold always is tests/simulation's.
#include "engine/serve/scheduler.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "engine/base/error_reason.h"

namespace transmla {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr absl::Time kNow = absl::UnixEpoch();

// "number:tokens", with "!" where it samples.
std::vector<std::string> Chunks(const Plan& plan) {
  std::vector<std::string> chunks;
  for (const Plan::Chunk& chunk : plan.chunks) {
    chunks.push_back(
        absl::StrCat(chunk.sequence->number, ":", chunk.tokens, chunk.samples ? "!" : ""));
  }
  return chunks;
}

class SchedulerTest : public testing::Test {
 protected:
  void Make(SchedulerOptions options) { scheduler_ = std::make_unique<Scheduler>(options); }

  Sequence* Add(int prompt, int priority = 0) { return Add(Make(prompt, priority)); }
  Sequence* Add(std::unique_ptr<Sequence> sequence) { return scheduler_->Add(std::move(sequence)); }
  std::unique_ptr<Sequence> Make(int prompt, int priority = 0) {
    auto sequence = std::make_unique<Sequence>();
    sequence->number = next_++;
    sequence->priority = priority;
    // No two begin alike, unless a test makes them.
    sequence->tokens.assign(prompt, static_cast<int32_t>(sequence->number));
    return sequence;
  }
  // All of these begin with the same tokens.
  std::unique_ptr<Sequence> MakeAlike(int prompt, int priority = 0) {
    auto sequence = Make(prompt, priority);
    for (int i = 0; i < prompt; ++i) sequence->tokens[i] = 1000 + i;
    return sequence;
  }
  // One step: everything that samples gets a token.
  std::vector<std::string> Step(absl::Time now = kNow) {
    const Plan plan = scheduler_->Step(now);
    scheduler_->Computed(plan);
    for (const Plan::Chunk& chunk : plan.chunks) {
      if (chunk.samples) scheduler_->Append(chunk.sequence->number, 7);
    }
    return Chunks(plan);
  }
  void Steps(int count) {
    for (int i = 0; i < count; ++i) Step();
  }

  std::unique_ptr<Scheduler> scheduler_;
  uint64_t next_ = 1;
};

TEST_F(SchedulerTest, APromptGoesInChunksThenDecodes) {
  Make({.max_step_tokens = 100, .max_running = 4, .pages = 10});
  Add(250);
  EXPECT_THAT(Step(), ElementsAre("1:100"));
  EXPECT_THAT(Step(), ElementsAre("1:100"));
  EXPECT_THAT(Step(), ElementsAre("1:50!"));
  EXPECT_THAT(Step(), ElementsAre("1:1!"));
}

TEST_F(SchedulerTest, DecodesComeFirstAndPromptsFillTheRest) {
  Make({.max_step_tokens = 10, .max_running = 8, .pages = 30});
  Add(2);
  Add(3);
  EXPECT_THAT(Step(), ElementsAre("1:2!", "2:3!"));
  Add(12);
  Add(20);
  EXPECT_THAT(Step(), ElementsAre("1:1!", "2:1!", "3:8"));
  EXPECT_THAT(Step(), ElementsAre("1:1!", "2:1!", "3:4!", "4:4"));
  EXPECT_THAT(Step(), ElementsAre("1:1!", "2:1!", "3:1!", "4:7"));
}

TEST_F(SchedulerTest, ABudgetBelowTheDecodesServesThoseThatGoFirst) {
  Make({.max_step_tokens = 2, .max_running = 8, .pages = 30});
  Add(1);
  Add(1);
  EXPECT_THAT(Step(), ElementsAre("1:1!", "2:1!"));
  Add(1);
  EXPECT_THAT(Step(), ElementsAre("1:1!", "2:1!"));
  scheduler_->Finish(1);
  EXPECT_THAT(Step(), ElementsAre("2:1!", "3:1!"));
}

TEST_F(SchedulerTest, PriorityThenAge) {
  Make({.max_step_tokens = 100, .max_running = 2, .pages = 30});
  Add(5, 0);
  Add(5, 1);
  Add(5, 0);
  Add(5, 1);
  EXPECT_THAT(Step(), ElementsAre("2:5!", "4:5!"));
  EXPECT_EQ(scheduler_->waiting(), 2);
  scheduler_->Finish(4);
  EXPECT_THAT(Step(), ElementsAre("2:1!", "1:5!"));
}

TEST_F(SchedulerTest, NobodyOvertakesTheFirstInLine) {
  Make({.max_step_tokens = 512, .max_running = 8, .pages = 6});
  Add(100);
  Step();
  Add(6 * kPageTokens - 10);  // fits the empty cache only
  Add(3);
  EXPECT_THAT(Step(), ElementsAre("1:1!"));
  scheduler_->Finish(1);
  EXPECT_THAT(Step(), ElementsAre("2:374!"));
  scheduler_->Finish(2);
  EXPECT_THAT(Step(), ElementsAre("3:3!"));
}

TEST_F(SchedulerTest, AdmissionLeavesAPageToGrowForEachThatRuns) {
  Make({.max_step_tokens = 512, .max_running = 8, .pages = 6});
  Add(10);
  Add(10);
  Add(10);
  Add(10);
  // 1 runs alone and needs no more; 2 needs 1 + 2 of 5 pages, 3 needs 1 + 3 of 4, 4 would need 1 +
  // 4 of 3.
  EXPECT_THAT(Step(), ElementsAre("1:10!", "2:10!", "3:10!"));
  EXPECT_EQ(scheduler_->waiting(), 1);
}

TEST_F(SchedulerTest, ALoneSequenceMayFillTheCache) {
  Make({.max_step_tokens = 512, .max_running = 8, .pages = 3});
  Sequence* const sequence = Add(3 * kPageTokens - 5);
  EXPECT_THAT(Step(), ElementsAre("1:187!"));
  Steps(4);
  EXPECT_THAT(Step(), ElementsAre("1:1!"));
  EXPECT_EQ(sequence->computed, 3 * kPageTokens);
  EXPECT_EQ(scheduler_->pool().free_pages(), 0);
}

TEST_F(SchedulerTest, TheOneThatGoesLastIsPreemptedAndComputedAgain) {
  Make({.max_step_tokens = 512, .max_running = 8, .pages = 4, .prefix_cache = false});
  Sequence* const older = Add(60);
  Sequence* const younger = Add(60);
  Step();
  ASSERT_EQ(scheduler_->running(), 2);
  Steps(5 + kPageTokens);  // both have taken their second page and need a third
  EXPECT_EQ(older->state, SequenceState::kRunning);
  EXPECT_EQ(younger->state, SequenceState::kWaiting);
  EXPECT_EQ(younger->computed, 0);
  EXPECT_THAT(younger->table.pages(), IsEmpty());
  EXPECT_EQ(younger->preemptions, 1);
  EXPECT_EQ(scheduler_->preemptions(), 1);
  const int tokens = static_cast<int>(younger->tokens.size());
  EXPECT_THAT(Step(), ElementsAre("1:1!"));
  scheduler_->Finish(older->number);
  EXPECT_THAT(Step(), ElementsAre(absl::StrCat("2:", tokens, "!")));
}

TEST_F(SchedulerTest, PriorityDecidesWhoIsPreempted) {
  Make({.max_step_tokens = 512, .max_running = 8, .pages = 4});
  Sequence* const older = Add(60, 0);
  Sequence* const younger = Add(60, 1);
  Steps(6 + kPageTokens);
  EXPECT_EQ(older->state, SequenceState::kWaiting);
  EXPECT_EQ(younger->state, SequenceState::kRunning);
}

TEST_F(SchedulerTest, TheLastGivesItsPagesBackWhenItCannotGrow) {
  Make({.max_step_tokens = 512, .max_running = 8, .pages = 4});
  Sequence* const older = Add(30);    // needs its second page late
  Sequence* const younger = Add(64);  // its second soon, its third before that
  Steps(2 + kPageTokens);
  EXPECT_EQ(older->table.pages().size(), 2);
  EXPECT_EQ(younger->state, SequenceState::kWaiting);
  EXPECT_EQ(scheduler_->pool().used_pages(), 2);
}

TEST_F(SchedulerTest, FinishFreesPagesInAnyState) {
  Make({.max_step_tokens = 20, .max_running = 2, .pages = 10});
  Add(2);
  Add(100);
  Add(5);
  Step();
  ASSERT_EQ(scheduler_->running(), 2);
  EXPECT_GT(scheduler_->pool().used_pages(), 0);
  scheduler_->Finish(3);  // waits
  scheduler_->Finish(2);  // in its prompt
  scheduler_->Finish(1);  // decodes
  scheduler_->Finish(1);  // ended
  scheduler_->Finish(99);
  EXPECT_TRUE(scheduler_->idle());
  EXPECT_EQ(scheduler_->pool().used_pages(), 0);
  EXPECT_THAT(Step(), IsEmpty());
}

TEST_F(SchedulerTest, DeadlinesEndWaitingAndRunning) {
  Make({.max_step_tokens = 20, .max_running = 1, .pages = 10});
  auto running = Make(5);
  running->deadline = kNow + absl::Seconds(2);
  Add(std::move(running));
  auto waiting = Make(5);
  waiting->deadline = kNow + absl::Seconds(1);
  Add(std::move(waiting));
  EXPECT_THAT(Step(), ElementsAre("1:5!"));
  Plan plan = scheduler_->Step(kNow + absl::Seconds(1));
  ASSERT_EQ(plan.expired.size(), 1);
  EXPECT_EQ(plan.expired[0].number, 2);
  EXPECT_TRUE(absl::IsDeadlineExceeded(plan.expired[0].status));
  EXPECT_THAT(Chunks(plan), ElementsAre("1:1!"));
  plan = scheduler_->Step(kNow + absl::Seconds(2));
  ASSERT_EQ(plan.expired.size(), 1);
  EXPECT_EQ(plan.expired[0].number, 1);
  EXPECT_THAT(Chunks(plan), IsEmpty());
  EXPECT_TRUE(scheduler_->idle());
  EXPECT_EQ(scheduler_->pool().used_pages(), 0);
}

TEST_F(SchedulerTest, TheQueueDeadlineIsForThoseThatNeverRan) {
  Make({.max_step_tokens = 512, .max_running = 8, .pages = 4});
  for (int i = 0; i < 2; ++i) {
    auto sequence = Make(60);
    sequence->queue_deadline = kNow + absl::Seconds(1);
    Add(std::move(sequence));
  }
  Steps(6 + kPageTokens);
  ASSERT_EQ(scheduler_->waiting(), 1);  // preempted: it has run
  auto late = Make(60);
  late->queue_deadline = kNow + absl::Seconds(1);
  Add(std::move(late));
  const Plan plan = scheduler_->Step(kNow + absl::Seconds(1));
  ASSERT_EQ(plan.expired.size(), 1);
  EXPECT_EQ(plan.expired[0].number, 3);
  EXPECT_TRUE(absl::IsResourceExhausted(plan.expired[0].status));
  EXPECT_EQ(ErrorReason(plan.expired[0].status), "QUEUE_TIMEOUT");
}

TEST_F(SchedulerTest, ASequenceStartsWithThePagesOfItsBeginning) {
  Make({.max_step_tokens = 512, .max_running = 8, .pages = 20});
  Add(MakeAlike(200));
  EXPECT_THAT(Step(), ElementsAre("1:200!"));
  Sequence* const second = Add(MakeAlike(210));
  EXPECT_THAT(Step(), ElementsAre("1:1!", "2:18!"));  // after three full pages
  EXPECT_EQ(second->cached_prompt_tokens, 3 * kPageTokens);
  EXPECT_EQ(scheduler_->pool().used_pages(), 3 + 1 + 1);
  EXPECT_EQ(scheduler_->prefix_queried_tokens(), 200 + 210);
  EXPECT_EQ(scheduler_->prefix_hit_tokens(), 3 * kPageTokens);
  scheduler_->Finish(1);
  EXPECT_THAT(Step(), ElementsAre("2:1!"));
  EXPECT_EQ(scheduler_->pool().used_pages(), 3 + 1);
}

TEST_F(SchedulerTest, TheLastTokenIsAlwaysComputed) {
  Make({.max_step_tokens = 512, .max_running = 8, .pages = 20});
  Add(MakeAlike(2 * kPageTokens));
  Step();
  Add(MakeAlike(2 * kPageTokens));
  EXPECT_THAT(Step(), ElementsAre("1:1!", "2:64!"));
  // The page that both have computed is there once.
  EXPECT_EQ(scheduler_->pool().used_pages(), 2 + 1);
}

TEST_F(SchedulerTest, PagesStayWhenTheirSequenceHasEndedUntilOthersNeedThem) {
  Make({.max_step_tokens = 512, .max_running = 8, .pages = 4});
  Add(MakeAlike(3 * kPageTokens));
  Step();
  scheduler_->Finish(1);
  EXPECT_EQ(scheduler_->pool().used_pages(), 0);
  EXPECT_EQ(scheduler_->pool().kept_pages(), 3);
  Sequence* const again = Add(MakeAlike(3 * kPageTokens));
  EXPECT_THAT(Step(), ElementsAre("2:64!"));
  EXPECT_EQ(again->cached_prompt_tokens, 2 * kPageTokens);
  scheduler_->Finish(2);
  Add(2 * kPageTokens);  // one page was free, the last of the kept ones goes
  EXPECT_THAT(Step(), ElementsAre("3:128!"));
  scheduler_->Finish(3);
  Sequence* const shorter = Add(MakeAlike(3 * kPageTokens));
  EXPECT_THAT(Step(), ElementsAre("4:64!"));
  EXPECT_EQ(shorter->cached_prompt_tokens, 2 * kPageTokens);
}

TEST_F(SchedulerTest, TwoThatComputeTheSameKeepOneCopy) {
  Make({.max_step_tokens = 512, .max_running = 8, .pages = 20});
  Sequence* const first = Add(MakeAlike(100));
  Sequence* const second = Add(MakeAlike(110));
  EXPECT_THAT(Step(), ElementsAre("1:100!", "2:110!"));
  EXPECT_EQ(first->table.pages()[0], second->table.pages()[0]);
  EXPECT_NE(first->table.pages()[1], second->table.pages()[1]);
  EXPECT_EQ(scheduler_->pool().used_pages(), 3);
}

TEST_F(SchedulerTest, OneWithTheSamePromptWaitsWhileTheFirstComputesIt) {
  Make({.max_step_tokens = 100, .max_running = 8, .pages = 20});
  Sequence* const first = Add(MakeAlike(150));
  auto second = MakeAlike(150);
  second->after = first->number;
  Add(std::move(second));
  EXPECT_THAT(Step(), ElementsAre("1:100"));
  EXPECT_THAT(Step(), ElementsAre("1:50!"));
  EXPECT_THAT(Step(), ElementsAre("1:1!", "2:22!"));
}

TEST_F(SchedulerTest, NobodyWaitsForOneThatHasEndedOrWaits) {
  Make({.max_step_tokens = 100, .max_running = 8, .pages = 20});
  Sequence* const first = Add(MakeAlike(150));
  auto second = MakeAlike(150, 1);  // goes before the first
  second->after = first->number;
  Add(std::move(second));
  EXPECT_THAT(Step(), ElementsAre("2:100"));
  auto third = MakeAlike(150, 1);
  third->after = 2;
  Add(std::move(third));
  scheduler_->Finish(2);
  EXPECT_THAT(Step(), ElementsAre("3:86!", "1:14"));
}

TEST_F(SchedulerTest, WhatWasGeneratedIsFoundToo) {
  Make({.max_step_tokens = 512, .max_running = 8, .pages = 20});
  Sequence* const first = Add(MakeAlike(100));
  Steps(60);
  std::vector<int32_t> chat = first->tokens;
  scheduler_->Finish(1);
  chat.resize(chat.size() + 5, 9);
  auto sequence = Make(1);
  sequence->tokens = chat;
  EXPECT_EQ(Add(std::move(sequence))->tokens.size(), 165);
  EXPECT_THAT(Step(), ElementsAre(absl::StrCat("2:", 165 - 2 * kPageTokens, "!")));
}

TEST_F(SchedulerTest, APreemptedSequenceComesBackToItsPages) {
  Make({.max_step_tokens = 512, .max_running = 8, .pages = 4});
  Sequence* const older = Add(60);
  Sequence* const younger = Add(60);
  Steps(6 + kPageTokens);
  ASSERT_EQ(younger->state, SequenceState::kWaiting);
  const int tokens = static_cast<int>(younger->tokens.size());
  // The older took the one free page, and the younger's first is still kept.
  scheduler_->Finish(older->number);
  EXPECT_THAT(Step(), ElementsAre(absl::StrCat("2:", tokens - kPageTokens, "!")));
  EXPECT_EQ(younger->cached_prompt_tokens, 0) << "of its first run";
}

TEST_F(SchedulerTest, WhoWantsNoPrefixCacheNeitherFindsNorLeavesPages) {
  Make({.max_step_tokens = 512, .max_running = 8, .pages = 20});
  auto alone = MakeAlike(100);
  alone->prefix_cache = false;
  Add(std::move(alone));
  EXPECT_THAT(Step(), ElementsAre("1:100!"));
  Add(MakeAlike(100));
  EXPECT_THAT(Step(), ElementsAre("1:1!", "2:100!"));
  alone = MakeAlike(100);
  alone->prefix_cache = false;
  Add(std::move(alone));
  EXPECT_THAT(Step(), ElementsAre("1:1!", "2:1!", "3:100!"));
  EXPECT_EQ(scheduler_->prefix_queried_tokens(), 100);
}

TEST_F(SchedulerTest, WithoutPrefixCacheEveryoneComputesEverything) {
  Make({.max_step_tokens = 512, .max_running = 8, .pages = 20, .prefix_cache = false});
  Add(MakeAlike(100));
  Step();
  Add(MakeAlike(100));
  EXPECT_THAT(Step(), ElementsAre("1:1!", "2:100!"));
  EXPECT_EQ(scheduler_->pool().kept_pages(), 0);
}

TEST_F(SchedulerTest, WholeBlocksOfThePromptAttendExpanded) {
  const auto range = [this](int prompt) {
    const Sequence& sequence = *Add(prompt);
    return std::pair(sequence.expanded_begin, sequence.expanded_end);
  };
  Make({.pages = 40, .expanded_block = 128});
  EXPECT_EQ(range(1), std::pair(128, 128));
  EXPECT_EQ(range(128), std::pair(128, 128));
  EXPECT_EQ(range(255), std::pair(128, 128));
  EXPECT_EQ(range(256), std::pair(128, 256));
  EXPECT_EQ(range(600), std::pair(128, 512));
  Make({.pages = 40});
  EXPECT_EQ(range(600), std::pair(0, 0));
}

TEST_F(SchedulerTest, OnlyPagesOfAKnownFormAreShared) {
  const SchedulerOptions options{
      .max_step_tokens = 512, .max_running = 8, .pages = 40, .expanded_block = 128};
  const auto second_finds = [&](int first, int second) {
    Make(options);
    const uint64_t number = Add(MakeAlike(first))->number;
    Step();
    scheduler_->Finish(number);
    Sequence* const sequence = Add(MakeAlike(second));
    Step();
    return sequence->cached_prompt_tokens;
  };
  // Within the first block everything is absorbed.
  EXPECT_EQ(second_finds(100, 100), 64);
  EXPECT_EQ(second_finds(500, 100), 64);
  EXPECT_EQ(second_finds(200, 300), 128) << "the first's third page is absorbed, not the second's";
  EXPECT_EQ(second_finds(300, 200), 128) << "the other way round";
  EXPECT_EQ(second_finds(300, 300), 256) << "not what is behind the last block";
  EXPECT_EQ(second_finds(300, 500), 256);
  EXPECT_EQ(second_finds(384, 384), 320) << "all but the page of the last token";
}

TEST_F(SchedulerTest, WhatWasGeneratedIsAbsorbedAgainAfterAPreemption) {
  Make({.max_step_tokens = 512, .max_running = 8, .pages = 6, .expanded_block = 64});
  Add(100);
  Sequence* const younger = Add(120);
  Steps(1 + 3 * kPageTokens - 100 + kPageTokens);
  ASSERT_GT(younger->preemptions, 0);
  ASSERT_GT(younger->tokens.size(), 128u);
  EXPECT_EQ(younger->expanded_end, 64);
}

TEST_F(SchedulerTest, DestructionWithLiveSequencesIsClean) {
  Make({.max_step_tokens = 512, .max_running = 8, .pages = 4});
  Add(60);
  Add(60);
  Step();
  scheduler_ = nullptr;
}

using SchedulerDeathTest = SchedulerTest;

TEST_F(SchedulerDeathTest, MisuseStops) {
  Make({.max_step_tokens = 512, .max_running = 8, .pages = 4});
  Add(10);
  EXPECT_DEATH(scheduler_->Append(1, 7), "CHECK failed");  // waits
  EXPECT_DEATH(Add(0), "CHECK failed");
  EXPECT_DEATH(Add(4 * kPageTokens + 1), "CHECK failed");
  next_ = 1;
  EXPECT_DEATH(Add(10), "CHECK failed");
}

}  // namespace
}  // namespace transmla
