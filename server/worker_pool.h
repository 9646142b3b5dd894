// WorkerPool runs tasks that are too long for gRPC's threads: tokenisation, rendering, file access.
//
// gRPC has two threads for all reactions on a small machine, so nothing that takes more than
// microseconds may run on them. Thread-safe.
#ifndef TRANSMLA_SERVER_WORKER_POOL_H_
#define TRANSMLA_SERVER_WORKER_POOL_H_

#include <functional>
#include <string>
#include <vector>

#include "engine/base/bounded_queue.h"
#include "engine/base/thread.h"

namespace transmla {

class WorkerPool {
 public:
  WorkerPool(const std::string& name, int threads, size_t capacity);
  // Runs what is queued, then joins.
  ~WorkerPool();

  // False, and the task is dropped, if `capacity` tasks wait. Never blocks.
  bool TryRun(std::function<void()> task);

 private:
  void Work();

  BoundedQueue<std::function<void()>> queue_;
  std::vector<Thread> threads_;
};

}  // namespace transmla

#endif  // TRANSMLA_SERVER_WORKER_POOL_H_
