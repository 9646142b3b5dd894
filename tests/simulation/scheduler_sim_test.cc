// Runs the scheduler's simulation over many seeds. To replay a failure: --seed=N [--steps=N]. To
// search on: --seeds=N.
#include "tests/simulation/scheduler_sim.h"

#include <cstdint>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "gtest/gtest.h"

namespace transmla {
namespace {

int64_t first_seed = 1;
int64_t seeds = 50;
int64_t steps = 100000;

// Without this many runs of a rare case a test of it means nothing.
void ExpectVisited(const SimCounts& counts) {
  EXPECT_GT(counts.arrived, 1000);
  EXPECT_GT(counts.completed, 500);
  EXPECT_GT(counts.cancelled, 50);
  EXPECT_GT(counts.out_of_time, 50);
  EXPECT_GT(counts.out_of_queue_time, 50);
  EXPECT_GT(counts.preemptions, 100);
  EXPECT_GT(counts.completed_after_preemption, 50);
  EXPECT_GT(counts.mixed_steps, 1000);
  EXPECT_GT(counts.hit_tokens, counts.queried_tokens / 20);
  EXPECT_GT(counts.kept_steps, 1000);
  EXPECT_GT(counts.restored_pages, 50);
  EXPECT_GT(counts.failed_stores, 50);
  EXPECT_GT(counts.accepted_draft_tokens, 1000);
  EXPECT_GT(counts.draft_tokens, 2 * counts.accepted_draft_tokens);
  EXPECT_GT(counts.prompt_logits, 1000);
  EXPECT_GT(counts.expanded_tokens, 1000);
  EXPECT_GT(counts.expanded_hit_tokens, 1000);
  EXPECT_GT(counts.other_turns, 100);
}

void Add(const SimCounts& counts, SimCounts& total) {
  total.steps += counts.steps;
  total.arrived += counts.arrived;
  total.completed += counts.completed;
  total.cancelled += counts.cancelled;
  total.out_of_time += counts.out_of_time;
  total.out_of_queue_time += counts.out_of_queue_time;
  total.preemptions += counts.preemptions;
  total.completed_after_preemption += counts.completed_after_preemption;
  total.mixed_steps += counts.mixed_steps;
  total.queried_tokens += counts.queried_tokens;
  total.hit_tokens += counts.hit_tokens;
  total.kept_steps += counts.kept_steps;
  total.restored_pages += counts.restored_pages;
  total.failed_stores += counts.failed_stores;
  total.draft_tokens += counts.draft_tokens;
  total.accepted_draft_tokens += counts.accepted_draft_tokens;
  total.prompt_logits += counts.prompt_logits;
  total.expanded_tokens += counts.expanded_tokens;
  total.expanded_hit_tokens += counts.expanded_hit_tokens;
  total.other_turns += counts.other_turns;
}

TEST(SchedulerSimTest, InvariantsHold) {
  SimCounts total;
  for (int64_t seed = first_seed; seed < first_seed + seeds; ++seed) {
    SchedulerSim sim(static_cast<uint64_t>(seed));
    const std::string failure = sim.Run(steps);
    ASSERT_EQ(failure, "") << "replay with --seed=" << seed << " --steps=" << steps;
    Add(sim.counts(), total);
  }
  GTEST_LOG_(INFO) << total.steps << " steps, " << total.arrived << " requests: " << total.completed
                   << " completed (" << total.completed_after_preemption << " after preemption), "
                   << total.cancelled << " cancelled, " << total.out_of_time << " out of time, "
                   << total.out_of_queue_time << " out of queue time; " << total.preemptions
                   << " preemptions, " << total.mixed_steps << " mixed steps; " << total.hit_tokens
                   << " of " << total.queried_tokens << " tokens found in the cache, "
                   << total.restored_pages << " pages back from the store, which failed "
                   << total.failed_stores << " times; " << total.accepted_draft_tokens << " of "
                   << total.draft_tokens << " guessed tokens right; " << total.prompt_logits
                   << " logits of prompts; " << total.expanded_tokens << " tokens expanded, "
                   << total.expanded_hit_tokens << " such found in the cache; " << total.other_turns
                   << " times another tenant's turn";
  if (seeds >= 20 && steps >= 20000) ExpectVisited(total);
}

TEST(SchedulerSimTest, TheSameSeedGivesTheSameRun) {
  SchedulerSim a(static_cast<uint64_t>(first_seed)), b(static_cast<uint64_t>(first_seed));
  EXPECT_EQ(a.Run(2000), b.Run(2000));
  EXPECT_EQ(a.counts().steps, b.counts().steps);
  EXPECT_EQ(a.counts().completed, b.counts().completed);
  EXPECT_EQ(a.counts().preemptions, b.counts().preemptions);
}

}  // namespace

// Whether `argument` is NAME=NUMBER; takes the number.
bool TakeFlag(absl::string_view argument, absl::string_view name, int64_t& value) {
  return absl::ConsumePrefix(&argument, name) && absl::SimpleAtoi(argument, &value);
}

bool TakeArguments(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    if (TakeFlag(argv[i], "--seed=", first_seed)) {
      seeds = 1;
    } else if (!TakeFlag(argv[i], "--seeds=", seeds) && !TakeFlag(argv[i], "--steps=", steps)) {
      GTEST_LOG_(ERROR) << "unknown argument " << argv[i]
                        << "; known: --seed=N --seeds=N --steps=N";
      return false;
    }
  }
  return true;
}

}  // namespace transmla

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  return transmla::TakeArguments(argc, argv) ? RUN_ALL_TESTS() : 1;
}
