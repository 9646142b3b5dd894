#include "engine/base/clock.h"

#include <atomic>

#include "gtest/gtest.h"

#include "engine/base/thread.h"

namespace transmla {
namespace {

TEST(ClockTest, SystemTimePasses) {
  const absl::Time before = SystemClock()->Now();
  SystemClock()->Sleep(absl::Milliseconds(1));
  EXPECT_GE(SystemClock()->Now() - before, absl::Milliseconds(1));
}

TEST(FakeClockTest, MovesWhenTold) {
  FakeClock clock(absl::UnixEpoch());
  EXPECT_EQ(clock.Now(), absl::UnixEpoch());
  clock.Advance(absl::Seconds(5));
  EXPECT_EQ(clock.Now(), absl::UnixEpoch() + absl::Seconds(5));
}

TEST(FakeClockTest, SleepersWakeAtTheirTime) {
  FakeClock clock;
  std::atomic<bool> woke = false;
  {
    Thread sleeper("sleeper", [&] {
      clock.Sleep(absl::Seconds(10));
      // The sleeper may begin after the first advance: its ten seconds count from then.
      EXPECT_GE(clock.Now(), absl::UnixEpoch() + absl::Seconds(10));
      woke = true;
    });
    while (!woke) clock.Advance(absl::Seconds(1));
  }
  EXPECT_TRUE(woke);
}

}  // namespace
}  // namespace transmla
