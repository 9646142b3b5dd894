#include "engine/base/thread_pool.h"

#include <utility>

#include <immintrin.h>

#include "absl/strings/str_cat.h"

#include "engine/base/check.h"
#include "engine/base/cpu_placement.h"

namespace transmla {
namespace {

// About 50 µs of pauses: longer than the gap between two loops of one decode step, far shorter than
// a scheduler tick.
constexpr int kSpins = 2000;

constexpr uint64_t kOpen = uint64_t{1} << 15;
constexpr uint64_t kWorkers = kOpen - 1;  // mask of the number of workers
constexpr uint64_t kGeneration = uint64_t{1} << 16;

}  // namespace

ThreadPool::ThreadPool(int threads, std::vector<int> cpus) : cpus_(std::move(cpus)) {
  CHECK_GE(threads, 1);
  CHECK_LE(static_cast<uint64_t>(threads), kWorkers);
  shares_ = std::vector<Share>(threads);
  workers_.reserve(threads - 1);
  for (int worker = 1; worker < threads; ++worker) {
    workers_.emplace_back(absl::StrCat("compute-", worker), [this, worker] { Work(worker); });
  }
}

ThreadPool::~ThreadPool() {
  stop_.store(true);
  state_.fetch_add(kGeneration);
  {
    absl::MutexLock lock(&mutex_);
    wake_.SignalAll();
  }
  workers_.clear();
}

void ThreadPool::RunTasks(Body body, int worker) {
  for (size_t i = 0; i < shares_.size(); ++i) {
    Share& share = shares_[(worker + i) % shares_.size()];
    // A look before the add leaves the shares of others, once they are empty, where they are.
    while (share.next.load(std::memory_order_relaxed) < share.end) {
      const int64_t task = share.next.fetch_add(1, std::memory_order_relaxed);
      if (task < share.end) body(task, worker);
    }
  }
}

void ThreadPool::ParallelFor(int64_t tasks, absl::FunctionRef<void(int64_t, int)> body) {
  if (tasks <= 0) return;
  if (tasks == 1 || workers_.empty()) {
    for (int64_t task = 0; task < tasks; ++task) body(task, 0);
    return;
  }
  // Between loops the state is closed and without workers, so all is this thread's alone.
  for (int64_t i = 0; i < threads(); ++i) {
    shares_[i].next.store(tasks * i / threads(), std::memory_order_relaxed);
    shares_[i].end = tasks * (i + 1) / threads();
  }
  body_.store(&body);
  state_.store((state_.load() / kGeneration + 1) * kGeneration + kOpen);
  if (sleeping_.load() > 0) {
    absl::MutexLock lock(&mutex_);
    wake_.SignalAll();
  }
  RunTasks(body, 0);
  // Closed, nobody joins any more; `body` may go once those that have are gone.
  state_.fetch_and(~kOpen);
  for (int spins = 0; (state_.load(std::memory_order_acquire) & kWorkers) != 0; ++spins) {
    if (spins < kSpins) {
      _mm_pause();
    } else {
      std::this_thread::yield();
    }
  }
}

bool ThreadPool::WaitForLoop(uint64_t seen) {
  // A worker that was late for the last loop may have seen the generation of the end already.
  const auto waits = [&] { return state_.load() / kGeneration == seen && !stop_.load(); };
  for (int spins = 0; spins < kSpins; ++spins) {
    if (!waits()) return !stop_.load();
    _mm_pause();
  }
  absl::MutexLock lock(&mutex_);
  sleeping_.fetch_add(1);
  while (waits()) wake_.Wait(&mutex_);
  sleeping_.fetch_sub(1);
  return !stop_.load();
}

bool ThreadPool::Join(uint64_t generation) {
  uint64_t state = state_.load();
  while (state / kGeneration == generation && (state & kOpen) != 0) {
    if (state_.compare_exchange_weak(state, state + 1)) return true;
  }
  return false;
}

void ThreadPool::Work(int worker) {
  // A processor that has been taken from the process meanwhile binds nobody.
  if (worker < static_cast<int>(cpus_.size())) BindThisThread(cpus_[worker]);
  uint64_t seen = 0;
  while (WaitForLoop(seen)) {
    seen = state_.load() / kGeneration;
    if (!Join(seen)) continue;
    RunTasks(*body_.load(), worker);
    state_.fetch_sub(1, std::memory_order_release);
  }
}

}  // namespace transmla
