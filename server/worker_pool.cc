#include "server/worker_pool.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace transmla {

WorkerPool::WorkerPool(const std::string& name, int threads, size_t capacity) : queue_(capacity) {
  for (int i = 0; i < threads; ++i) {
    threads_.emplace_back(absl::StrCat(name, "-", i), [this] { Work(); });
  }
}

WorkerPool::~WorkerPool() {
  queue_.Close();
  for (Thread& thread : threads_) thread.Join();
}

bool WorkerPool::TryRun(std::function<void()> task) { return queue_.TryPush(std::move(task)); }

void WorkerPool::Work() {
  while (true) {
    std::optional<std::function<void()>> task = queue_.Pop(absl::InfiniteDuration());
    if (!task.has_value()) return;
    (*task)();
  }
}

}  // namespace transmla
