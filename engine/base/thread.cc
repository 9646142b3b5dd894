#include "engine/base/thread.h"

#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "absl/strings/numbers.h"
#include <pthread.h>

namespace transmla {

Thread::Thread(std::string name, std::function<void()> body)
    : thread_([name = name.substr(0, 15), body = std::move(body)] {
        pthread_setname_np(pthread_self(), name.c_str());
        body();
      }) {}

namespace {

// Linux has a nice value for each thread, although POSIX asks for one for the process.
void LowerPriority(id_t thread, int nice) {
  errno = 0;
  const int now = getpriority(PRIO_PROCESS, thread);
  // A thread that is gone needs none.
  if (now == -1 && errno != 0) return;
  // A value above 19 counts as 19. More niceness is never refused.
  setpriority(PRIO_PROCESS, thread, now + nice);
}

}  // namespace

void LowerPriorityOfThisThread(int nice) {
  LowerPriority(static_cast<id_t>(syscall(SYS_gettid)), nice);
}

void LowerPriorityOfOtherThreads(int nice) {
  const auto self = static_cast<id_t>(syscall(SYS_gettid));
  std::error_code error;
  for (auto it = std::filesystem::directory_iterator("/proc/self/task", error);
       !error && it != std::filesystem::directory_iterator(); it.increment(error)) {
    id_t thread = 0;
    if (!absl::SimpleAtoi(it->path().filename().string(), &thread) || thread == self) continue;
    LowerPriority(thread, nice);
  }
}

}  // namespace transmla
