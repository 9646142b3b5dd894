#include "engine/base/cpu_placement.h"

#include <sched.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/base/thread.h"

namespace transmla {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(PlacementOrderTest, SecondThreadsOfCoresComeLast) {
  EXPECT_THAT(PlacementOrder({{.cpu = 0, .core = 0},
                              {.cpu = 1, .core = 0},
                              {.cpu = 2, .core = 1},
                              {.cpu = 3, .core = 1}}),
              ElementsAre(0, 2, 1, 3));
}

TEST(PlacementOrderTest, FastCoresComeFirst) {
  // Two fast cores of two threads each, and two slow ones of one.
  EXPECT_THAT(PlacementOrder({{.cpu = 0, .core = 0, .speed = 3},
                              {.cpu = 1, .core = 1, .speed = 3},
                              {.cpu = 2, .core = 4, .speed = 5},
                              {.cpu = 3, .core = 4, .speed = 5},
                              {.cpu = 4, .core = 8, .speed = 5},
                              {.cpu = 5, .core = 8, .speed = 5}}),
              ElementsAre(2, 4, 0, 1, 3, 5));
}

TEST(PlacementOrderTest, OnePackageAfterTheOther) {
  // Numbered in turn, and with cores of the same numbers, as on machines of two packages.
  EXPECT_THAT(PlacementOrder({{.cpu = 0, .package = 0, .core = 0},
                              {.cpu = 1, .package = 1, .core = 0},
                              {.cpu = 2, .package = 0, .core = 1},
                              {.cpu = 3, .package = 1, .core = 1}}),
              ElementsAre(0, 2, 1, 3));
}

TEST(PlacementOrderTest, DoesNotDependOnTheOrderGiven) {
  EXPECT_THAT(PlacementOrder({{.cpu = 3, .core = 1}, {.cpu = 2, .core = 1}, {.cpu = 0, .core = 0}}),
              ElementsAre(0, 2, 3));
  EXPECT_THAT(PlacementOrder({}), IsEmpty());
}

TEST(CpuPlacementTest, UsablePlacesAreTheAffinityMasks) {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  ASSERT_EQ(sched_getaffinity(0, sizeof(mask), &mask), 0);
  const std::vector<CpuPlace> places = UsableCpuPlaces();
  ASSERT_EQ(places.size(), static_cast<size_t>(CPU_COUNT(&mask)));
  for (const CpuPlace& place : places) EXPECT_TRUE(CPU_ISSET(place.cpu, &mask)) << place.cpu;
}

TEST(CpuPlacementTest, BindsTheCallingThreadAlone) {
  const std::vector<CpuPlace> places = UsableCpuPlaces();
  ASSERT_FALSE(places.empty());
  const int cpu = places.back().cpu;
  std::vector<CpuPlace> inside;
  bool bound = false;
  Thread("bound", [&] {
    bound = BindThisThread(cpu);
    inside = UsableCpuPlaces();
  }).Join();
  EXPECT_TRUE(bound);
  ASSERT_EQ(inside.size(), 1u);
  EXPECT_EQ(inside[0].cpu, cpu);
  EXPECT_EQ(UsableCpuPlaces().size(), places.size());
}

TEST(CpuPlacementTest, RefusesProcessorsThatAreNone) {
  EXPECT_FALSE(BindThisThread(-1));
  EXPECT_FALSE(BindThisThread(1 << 20));
}

}  // namespace
}  // namespace transmla
