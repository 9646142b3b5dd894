#include "engine/base/thread.h"

#include <algorithm>
#include <atomic>

#include <sys/resource.h>
#include <unistd.h>

#include "absl/synchronization/notification.h"
#include <gtest/gtest.h>

namespace transmla {
namespace {

int NiceOf(pid_t thread) { return getpriority(PRIO_PROCESS, static_cast<id_t>(thread)); }

TEST(ThreadTest, LowPriorityIsInheritedAndConcernsNobodyElse) {
  const int before = NiceOf(gettid());
  int own = -1;
  int child = -1;
  Thread("low", [&] {
    LowerPriorityOfThisThread(3);
    own = NiceOf(gettid());
    Thread("child", [&] { child = NiceOf(gettid()); }).Join();
  }).Join();
  EXPECT_EQ(own, std::min(before + 3, 19));
  EXPECT_EQ(child, own);
  EXPECT_EQ(NiceOf(gettid()), before);
}

TEST(ThreadTest, LowersAllThreadsButTheCallingOne) {
  const int before = NiceOf(gettid());
  std::atomic<pid_t> other{0};
  absl::Notification done;
  Thread thread("other", [&] {
    other = gettid();
    done.WaitForNotification();
  });
  while (other == 0) continue;
  LowerPriorityOfOtherThreads(4);
  EXPECT_EQ(NiceOf(other), std::min(before + 4, 19));
  EXPECT_EQ(NiceOf(gettid()), before);
  done.Notify();
}

}  // namespace
}  // namespace transmla
