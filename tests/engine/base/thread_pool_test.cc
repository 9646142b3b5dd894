#include "engine/base/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

#include "engine/base/clock.h"
#include "engine/base/cpu_placement.h"
#include "engine/base/random.h"

namespace transmla {
namespace {

// Sums of random floats, one a task, in the order of the task's own numbers.
std::vector<float> Sums(ThreadPool& pool, int64_t tasks) {
  std::vector<float> sums(tasks);
  pool.ParallelFor(tasks, [&](int64_t task, int) {
    Random random(task);
    float sum = 0;
    for (int i = 0; i < 100; ++i) sum += static_cast<float>(random.Normal());
    sums[task] = sum;
  });
  return sums;
}

TEST(ThreadPoolTest, ResultsAreThoseOfOneThread) {
  ThreadPool single(1);
  const std::vector<float> expected = Sums(single, 500);
  for (const int threads : {2, 3, 8}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    EXPECT_EQ(Sums(pool, 500), expected) << threads;
  }
}

// Thousands of short loops, of every size around the number of threads: a worker that missed one,
// or took part twice, would show as a wrong count.
TEST(ThreadPoolTest, EachTaskRunsOnceByAWorkerOfItsOwn) {
  constexpr int kThreads = 3;
  ThreadPool pool(kThreads);
  for (int round = 0; round < 3000; ++round) {
    const int64_t tasks = round % 9;
    std::vector<std::atomic<int>> runs(tasks);
    std::vector<std::atomic<int>> inside(kThreads);
    std::atomic<int> wrong = 0;
    pool.ParallelFor(tasks, [&](int64_t task, int worker) {
      if (worker < 0 || worker >= kThreads || inside[worker].fetch_add(1) != 0) ++wrong;
      ++runs[task];
      inside[worker].fetch_sub(1);
    });
    ASSERT_EQ(wrong.load(), 0) << "round " << round;
    for (int64_t task = 0; task < tasks; ++task) ASSERT_EQ(runs[task].load(), 1);
  }
}

// A thread goes through its share in order, however much others take of it.
TEST(ThreadPoolTest, SharesAreRunInOrder) {
  constexpr int kThreads = 3;
  constexpr int64_t kTasks = 90;
  ThreadPool pool(kThreads);
  for (int round = 0; round < 300; ++round) {
    std::vector<std::vector<int64_t>> own(kThreads);
    pool.ParallelFor(kTasks, [&](int64_t task, int worker) {
      if (task * kThreads / kTasks == worker) own[worker].push_back(task);
    });
    for (const std::vector<int64_t>& tasks : own) {
      ASSERT_TRUE(std::is_sorted(tasks.begin(), tasks.end()));
    }
  }
}

// The second thread stands still in its first task until all others have been run for it.
TEST(ThreadPoolTest, OthersRunTheTasksOfAThreadThatIsHeldUp) {
  constexpr int64_t kTasks = 8;
  ThreadPool pool(2);
  for (int round = 0; round < 100; ++round) {
    std::atomic<int> runs = 0;
    pool.ParallelFor(kTasks, [&](int64_t task, int worker) {
      if (worker == 1 && task == kTasks / 2) {
        while (runs.load() < kTasks - 1) std::this_thread::yield();
      }
      ++runs;
    });
    ASSERT_EQ(runs.load(), kTasks);
  }
}

// Between loops workers fall asleep; the next loop must wake them and not end before they have.
TEST(ThreadPoolTest, SleepingWorkersWakeUp) {
  ThreadPool pool(2);
  for (int round = 0; round < 5; ++round) {
    SystemClock()->Sleep(absl::Milliseconds(2));
    std::atomic<int64_t> sum = 0;
    pool.ParallelFor(1000, [&](int64_t task, int) { sum += task; });
    EXPECT_EQ(sum.load(), 999 * 1000 / 2);
  }
}

// A worker may wake for a loop when that is over and the pool is at its end already.
TEST(ThreadPoolTest, EndsRightBehindALoop) {
  for (int round = 0; round < 3000; ++round) {
    ThreadPool pool(4);
    std::atomic<int> runs = 0;
    pool.ParallelFor(3, [&](int64_t, int) { ++runs; });
    ASSERT_EQ(runs.load(), 3);
  }
}

TEST(ThreadPoolTest, NoTasksNoCalls) {
  ThreadPool pool(2);
  int calls = 0;
  pool.ParallelFor(0, [&](int64_t, int) { ++calls; });
  pool.ParallelFor(-1, [&](int64_t, int) { ++calls; });
  EXPECT_EQ(calls, 0);
}

TEST(ThreadPoolTest, WorkersRunOnTheirProcessors) {
  const std::vector<int> cpus = PlacementOrder(UsableCpuPlaces());
  const size_t free = UsableCpuPlaces().size();
  ThreadPool pool(static_cast<int>(cpus.size()) + 1, cpus);  // the last worker has none
  std::atomic<int> wrong = 0;
  for (int round = 0; round < 200; ++round) {
    pool.ParallelFor(64, [&](int64_t, int worker) {
      const std::vector<CpuPlace> places = UsableCpuPlaces();
      const bool bound = worker > 0 && worker < static_cast<int>(cpus.size());
      if (bound ? places.size() != 1 || places[0].cpu != cpus[worker] : places.size() != free) {
        ++wrong;
      }
    });
  }
  EXPECT_EQ(wrong.load(), 0);
}

TEST(ThreadPoolDeathTest, NeedsAThread) { EXPECT_DEATH(ThreadPool(0), "threads >= 1"); }

}  // namespace
}  // namespace transmla
