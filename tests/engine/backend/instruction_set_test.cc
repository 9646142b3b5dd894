#include "engine/backend/cpu/instruction_set.h"

#include <string>

#include "absl/time/time.h"

#include "engine/backend/cpu/kernel_choice.h"
#include "engine/base/clock.h"
#include "tests/engine/backend/backend_fixture.h"

namespace transmla::cpu {
namespace {

TEST(InstructionSetTest, AutoIsTheSameEachTime) {
  const auto first = FindInstructionSet("auto");
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(*first, *FindInstructionSet("auto"));
  EXPECT_TRUE(MachineHas((*first)->name));
}

TEST(InstructionSetTest, EverySetIsFoundOrSaidToBeLacking) {
  for (const std::string& name : InstructionSetNames()) {
    const auto set = FindInstructionSet(name);
    if (set.ok()) {
      EXPECT_EQ((*set)->name, name);
    } else {
      EXPECT_THAT(set.status().message(), ::testing::HasSubstr(name));
    }
  }
  EXPECT_TRUE(FindInstructionSet("generic").ok());
}

FakeClock& TestClock() {
  static FakeClock* const clock = new FakeClock();
  return *clock;
}

TEST(KernelChoiceTest, TheFasterKernelsAreChosen) {
  Kernels quick = kGenericKernels;
  quick.scores = [](const ScoresArgs&) { TestClock().Advance(absl::Microseconds(2)); };
  quick.weighted_sum = [](const WeightedSumArgs&) { TestClock().Advance(absl::Microseconds(4)); };
  Kernels slow = quick;
  slow.scores = [](const ScoresArgs&) { TestClock().Advance(absl::Microseconds(3)); };
  EXPECT_TRUE(AttendsFaster(quick, slow, TestClock()));
  EXPECT_FALSE(AttendsFaster(slow, quick, TestClock()));
}

// One run that something else held up does not count.
TEST(KernelChoiceTest, TheBestOfSeveralRunsCounts) {
  static int calls;
  calls = 0;
  Kernels disturbed = kGenericKernels;
  disturbed.weighted_sum = [](const WeightedSumArgs&) {};
  disturbed.scores = [](const ScoresArgs&) {
    TestClock().Advance(absl::Microseconds(calls++ < 10 ? 50 : 1));
  };
  Kernels other = disturbed;
  other.scores = [](const ScoresArgs&) { TestClock().Advance(absl::Microseconds(2)); };
  EXPECT_TRUE(AttendsFaster(disturbed, other, TestClock()));
}

}  // namespace
}  // namespace transmla::cpu
