// What Abseil's own sources tell ThreadSanitizer when they are built with it, told from outside
// (cmake/tsan.cmake says why).
//
// Between pre and post the sanitizer ignores the thread's accesses: there Abseil evaluates the
// conditions of other threads that wait.
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include <sanitizer/tsan_interface.h>

// `real` is Abseil's function, `wrap` is where our calls of it arrive.
#define TRANSMLA_WRAP(result, name, symbol, ...)               \
  result Real##name(__VA_ARGS__) __asm__("__real_" symbol);    \
  result Wrapped##name(__VA_ARGS__) __asm__("__wrap_" symbol); \
  result Wrapped##name(__VA_ARGS__)

namespace transmla {
namespace {

constexpr unsigned kReader = __tsan_mutex_read_lock;

// The caller holds `mutex`; gives it up and takes it again, as all that waits for a condition does.
class Waiting {
 public:
  explicit Waiting(absl::Mutex* mutex) : mutex_(mutex) {
    __tsan_mutex_pre_unlock(mutex_, 0);
    __tsan_mutex_post_unlock(mutex_, 0);
    __tsan_mutex_pre_lock(mutex_, 0);
  }
  ~Waiting() { __tsan_mutex_post_lock(mutex_, 0, 0); }

 private:
  absl::Mutex* const mutex_;
};

}  // namespace

TRANSMLA_WRAP(void, Lock, "_ZN4absl7debian35Mutex4LockEv", absl::Mutex* mutex) {
  __tsan_mutex_pre_lock(mutex, 0);
  RealLock(mutex);
  __tsan_mutex_post_lock(mutex, 0, 0);
}

TRANSMLA_WRAP(void, Unlock, "_ZN4absl7debian35Mutex6UnlockEv", absl::Mutex* mutex) {
  __tsan_mutex_pre_unlock(mutex, 0);
  RealUnlock(mutex);
  __tsan_mutex_post_unlock(mutex, 0);
}

TRANSMLA_WRAP(bool, TryLock, "_ZN4absl7debian35Mutex7TryLockEv", absl::Mutex* mutex) {
  __tsan_mutex_pre_lock(mutex, __tsan_mutex_try_lock);
  const bool locked = RealTryLock(mutex);
  __tsan_mutex_post_lock(mutex, __tsan_mutex_try_lock | (locked ? 0 : __tsan_mutex_try_lock_failed),
                         0);
  return locked;
}

TRANSMLA_WRAP(void, ReaderLock, "_ZN4absl7debian35Mutex10ReaderLockEv", absl::Mutex* mutex) {
  __tsan_mutex_pre_lock(mutex, kReader);
  RealReaderLock(mutex);
  __tsan_mutex_post_lock(mutex, kReader, 0);
}

TRANSMLA_WRAP(void, ReaderUnlock, "_ZN4absl7debian35Mutex12ReaderUnlockEv", absl::Mutex* mutex) {
  __tsan_mutex_pre_unlock(mutex, kReader);
  RealReaderUnlock(mutex);
  __tsan_mutex_post_unlock(mutex, kReader);
}

TRANSMLA_WRAP(void, Destroy, "_ZN4absl7debian35MutexD1Ev", absl::Mutex* mutex) {
  RealDestroy(mutex);
  __tsan_mutex_destroy(mutex, __tsan_mutex_not_static);
}

TRANSMLA_WRAP(void, Await, "_ZN4absl7debian35Mutex5AwaitERKNS0_9ConditionE", absl::Mutex* mutex,
              const absl::Condition& condition) {
  const Waiting waiting(mutex);
  RealAwait(mutex, condition);
}

TRANSMLA_WRAP(bool, AwaitWithTimeout,
              "_ZN4absl7debian35Mutex16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE",
              absl::Mutex* mutex, const absl::Condition& condition, absl::Duration timeout) {
  const Waiting waiting(mutex);
  return RealAwaitWithTimeout(mutex, condition, timeout);
}

TRANSMLA_WRAP(bool, AwaitWithDeadline,
              "_ZN4absl7debian35Mutex17AwaitWithDeadlineERKNS0_9ConditionENS0_4TimeE",
              absl::Mutex* mutex, const absl::Condition& condition, absl::Time deadline) {
  const Waiting waiting(mutex);
  return RealAwaitWithDeadline(mutex, condition, deadline);
}

TRANSMLA_WRAP(void, Wait, "_ZN4absl7debian37CondVar4WaitEPNS0_5MutexE", absl::CondVar* signal,
              absl::Mutex* mutex) {
  const Waiting waiting(mutex);
  RealWait(signal, mutex);
}

TRANSMLA_WRAP(bool, WaitWithTimeout,
              "_ZN4absl7debian37CondVar15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE",
              absl::CondVar* signal, absl::Mutex* mutex, absl::Duration timeout) {
  const Waiting waiting(mutex);
  return RealWaitWithTimeout(signal, mutex, timeout);
}

TRANSMLA_WRAP(bool, WaitWithDeadline,
              "_ZN4absl7debian37CondVar16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE",
              absl::CondVar* signal, absl::Mutex* mutex, absl::Time deadline) {
  const Waiting waiting(mutex);
  return RealWaitWithDeadline(signal, mutex, deadline);
}

TRANSMLA_WRAP(void, Notify, "_ZN4absl7debian312Notification6NotifyEv",
              absl::Notification* notification) {
  __tsan_release(notification);
  RealNotify(notification);
}

TRANSMLA_WRAP(void, WaitForNotification, "_ZNK4absl7debian312Notification19WaitForNotificationEv",
              absl::Notification* notification) {
  RealWaitForNotification(notification);
  __tsan_acquire(notification);
}

TRANSMLA_WRAP(bool, WaitForNotificationWithTimeout,
              "_ZNK4absl7debian312Notification30WaitForNotificationWithTimeoutENS0_8DurationE",
              absl::Notification* notification, absl::Duration timeout) {
  const bool notified = RealWaitForNotificationWithTimeout(notification, timeout);
  if (notified) __tsan_acquire(notification);
  return notified;
}

}  // namespace transmla
