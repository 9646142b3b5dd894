#include "engine/backend/cpu/instruction_set.h"

#include <chrono>

#include "engine/backend/cpu/kernel_choice.h"
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

void Wait(std::chrono::microseconds time) {
  const auto end = std::chrono::steady_clock::now() + time;
  while (std::chrono::steady_clock::now() < end) {
  }
}

TEST(KernelChoiceTest, TheFasterKernelsAreChosen) {
  Kernels quick = kGenericKernels;
  quick.scores = [](const ScoresArgs&) {};
  quick.weighted_sum = [](const WeightedSumArgs&) {};
  Kernels slow = quick;
  slow.scores = [](const ScoresArgs&) { Wait(std::chrono::microseconds(20)); };
  EXPECT_TRUE(AttendsFaster(quick, slow));
  EXPECT_FALSE(AttendsFaster(slow, quick));
}

}  // namespace
}  // namespace transmla::cpu
