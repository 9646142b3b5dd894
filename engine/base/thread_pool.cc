#include "engine/base/thread_pool.h"

#include <immintrin.h>

#include "absl/strings/str_cat.h"

#include "engine/base/check.h"

namespace transmla {
namespace {

// About 50 µs of pauses: longer than the gap between two loops of one decode step, far shorter than
// a scheduler tick.
constexpr int kSpins = 2000;

}  // namespace

struct ThreadPool::Loop {
  int64_t tasks;
  absl::FunctionRef<void(int64_t, int)> body;
  std::atomic<int64_t> next{0};
};

ThreadPool::ThreadPool(int threads) {
  CHECK_GE(threads, 1);
  workers_.reserve(threads - 1);
  for (int worker = 1; worker < threads; ++worker) {
    workers_.emplace_back(absl::StrCat("compute-", worker), [this, worker] { Work(worker); });
  }
}

ThreadPool::~ThreadPool() {
  stop_.store(true);
  generation_.fetch_add(1);
  {
    absl::MutexLock lock(&mutex_);
    wake_.SignalAll();
  }
  workers_.clear();
}

void ThreadPool::RunTasks(Loop& loop, int worker) {
  for (int64_t task = loop.next.fetch_add(1); task < loop.tasks; task = loop.next.fetch_add(1)) {
    loop.body(task, worker);
  }
}

void ThreadPool::ParallelFor(int64_t tasks, absl::FunctionRef<void(int64_t, int)> body) {
  if (tasks <= 0) return;
  Loop loop{.tasks = tasks, .body = body};
  if (tasks == 1 || workers_.empty()) {
    RunTasks(loop, 0);
    return;
  }
  // Every worker takes part in every loop, if only to find it empty: then `loop` may leave the
  // stack once busy_ is zero.
  busy_.store(static_cast<int>(workers_.size()));
  loop_.store(&loop);
  generation_.fetch_add(1);
  if (sleeping_.load() > 0) {
    absl::MutexLock lock(&mutex_);
    wake_.SignalAll();
  }
  RunTasks(loop, 0);
  for (int spins = 0; busy_.load(std::memory_order_acquire) != 0; ++spins) {
    if (spins < kSpins) {
      _mm_pause();
    } else {
      std::this_thread::yield();
    }
  }
}

bool ThreadPool::WaitForLoop(uint64_t seen) {
  for (int spins = 0; spins < kSpins; ++spins) {
    if (generation_.load() != seen) return !stop_.load();
    _mm_pause();
  }
  absl::MutexLock lock(&mutex_);
  sleeping_.fetch_add(1);
  while (generation_.load() == seen) wake_.Wait(&mutex_);
  sleeping_.fetch_sub(1);
  return !stop_.load();
}

void ThreadPool::Work(int worker) {
  uint64_t seen = 0;
  while (WaitForLoop(seen)) {
    ++seen;
    RunTasks(*loop_.load(), worker);
    busy_.fetch_sub(1, std::memory_order_release);
  }
}

}  // namespace transmla
