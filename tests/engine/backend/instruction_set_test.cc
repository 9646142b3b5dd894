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

// Kernels with two ways to multiply, of which the other is faster for rows of up to 64 columns.
PanelKernels TwoWays() {
  return {.tile_tokens = 16,
          .quantize_tile = [](const float*, int64_t, int, int64_t, uint8_t*) {},
          .dot = [](const PanelDotArgs&) { TestClock().Advance(absl::Microseconds(7)); },
          .other_dot =
              [](const PanelDotArgs& args) {
                TestClock().Advance(absl::Microseconds(args.k <= 64 ? 5 : 9));
              }};
}

TEST(KernelChoiceTest, EachShapeHasTheFasterOfTwoWays) {
  const PanelKernels kernels = TwoWays();
  PanelDotChoice choice(kernels, TestClock());
  EXPECT_EQ(choice.For(DType::kQ8_0, 64), kernels.other_dot);
  EXPECT_EQ(choice.For(DType::kQ8_0, 96), kernels.dot);
  EXPECT_EQ(choice.For(DType::kQ4_0, 32), kernels.other_dot);
}

TEST(KernelChoiceTest, AShapeIsMeasuredOnce) {
  const PanelKernels kernels = TwoWays();
  PanelDotChoice choice(kernels, TestClock());
  const PanelDot chosen = choice.For(DType::kQ8_0, 64);
  const absl::Time measured = TestClock().Now();
  EXPECT_EQ(choice.For(DType::kQ8_0, 64), chosen);
  EXPECT_EQ(TestClock().Now(), measured);
}

TEST(KernelChoiceTest, WithOneWayNothingIsMeasured) {
  PanelKernels kernels = TwoWays();
  kernels.other_dot = nullptr;
  PanelDotChoice choice(kernels, TestClock());
  const absl::Time before = TestClock().Now();
  EXPECT_EQ(choice.For(DType::kQ8_0, 64), kernels.dot);
  EXPECT_EQ(TestClock().Now(), before);
}

// Real kernels of every set, over every type, get what they need to run.
TEST(KernelChoiceTest, RealKernelsCanBeMeasured) {
  for (const std::string& name : InstructionSetNames()) {
    const auto set = FindInstructionSet(name);
    if (!set.ok()) continue;
    PanelKernels kernels = *(*set)->panels;
    kernels.other_dot = kernels.dot;
    PanelDotChoice choice(kernels, *SystemClock());
    for (const DType dtype : {DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1, DType::kQ8_0,
                              DType::kQ4_K, DType::kQ5_K, DType::kQ6_K}) {
      EXPECT_EQ(choice.For(dtype, 768), kernels.dot);
    }
  }
}

}  // namespace
}  // namespace transmla::cpu
