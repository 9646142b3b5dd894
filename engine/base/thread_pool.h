// ThreadPool runs one parallel loop at a time over a fixed set of threads.
//
// Made for loops of microseconds: workers spin briefly after a loop, then sleep, so an idle server
// uses no processor time. How a loop is cut into tasks is the caller's choice, but must not change
// a result: those are the same on every machine of one instruction set.
#ifndef TRANSMLA_ENGINE_BASE_THREAD_POOL_H_
#define TRANSMLA_ENGINE_BASE_THREAD_POOL_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/synchronization/mutex.h"

#include "engine/base/thread.h"

namespace transmla {

// ParallelFor may be called from one thread at a time, and not from inside a task.
class ThreadPool {
 public:
  // `threads` counts the calling thread. Worker i runs on processor cpus[i] alone if there are so
  // many; worker 0, the calling thread, stays where the system puts it. REQUIRES: threads >= 1.
  explicit ThreadPool(int threads, std::vector<int> cpus = {});
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls body(task, worker) once for each task in [0, tasks), worker in [0, threads()), and
  // returns when all are done. Each thread has a share of consecutive tasks, which it runs in
  // order, so that it reads memory in order; one that is through with its own runs those of others.
  void ParallelFor(int64_t tasks, absl::FunctionRef<void(int64_t task, int worker)> body);

 private:
  // Tasks [next, end) of a loop that nobody has taken. Apart from others in memory: a thread that
  // takes its own tasks waits for no other.
  struct alignas(64) Share {
    std::atomic<int64_t> next{0};
    int64_t end = 0;
  };
  using Body = absl::FunctionRef<void(int64_t, int)>;

  void Work(int worker);
  bool WaitForLoop(uint64_t seen);
  bool Join(uint64_t generation);
  void RunTasks(Body body, int worker);

  const std::vector<int> cpus_;
  std::vector<Thread> workers_;
  // The current loop: generation · kGeneration, + kOpen while workers may join it, + the number of
  // those that have joined and not left. A worker that the system does not run when a loop begins
  // never joins it, and nobody waits for it.
  std::atomic<uint64_t> state_{0};
  std::atomic<const Body*> body_{nullptr};
  std::vector<Share> shares_;  // [threads()]
  std::atomic<bool> stop_{false};
  absl::Mutex mutex_;
  absl::CondVar wake_;
  std::atomic<int> sleeping_{0};
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_BASE_THREAD_POOL_H_
