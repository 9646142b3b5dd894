#include "engine/linalg/threads.h"

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include <gtest/gtest.h>
#include <time.h>

#include "engine/base/random.h"
#include "engine/linalg/product.h"

namespace transmla {
namespace {

double ProcessorSeconds(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

TEST(ThreadsTest, WithOneThreadTheCallerDoesAllTheWork) {
  SetLinalgThreads(1);
  EXPECT_EQ(LinalgThreads(), 1);
  Random random(7);
  Matrix a(601, 601);
  for (double& value : a.values()) value = random.Uniform();
  // Threads that an earlier test has woken wait for more work for some 30 ms, and not asleep.
  absl::SleepFor(absl::Milliseconds(300));
  const double process = ProcessorSeconds(CLOCK_PROCESS_CPUTIME_ID);
  const double thread = ProcessorSeconds(CLOCK_THREAD_CPUTIME_ID);
  for (int i = 0; i < 5; ++i) Multiply(a, a);
  const double all = ProcessorSeconds(CLOCK_PROCESS_CPUTIME_ID) - process;
  const double own = ProcessorSeconds(CLOCK_THREAD_CPUTIME_ID) - thread;
  // Processor time, which does not depend on who else uses the machine. With two threads the
  // caller's share would be about a half.
  EXPECT_GT(own, 0.9 * all);
}

}  // namespace
}  // namespace transmla
