// The only door to the time: everything that waits, times out or measures takes a Clock, so that
// tests own the time.
#ifndef TRANSMLA_ENGINE_BASE_CLOCK_H_
#define TRANSMLA_ENGINE_BASE_CLOCK_H_

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace transmla {

// Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual absl::Time Now() const = 0;
  // Returns after `duration`, in this clock's time.
  virtual void Sleep(absl::Duration duration) = 0;
};

// The system's clock; never destroyed.
Clock* SystemClock();

// Stands still until a test moves it.
class FakeClock : public Clock {
 public:
  explicit FakeClock(absl::Time start = absl::UnixEpoch()) : now_(start) {}
  absl::Time Now() const override;
  // Blocks until other threads have advanced the clock far enough.
  void Sleep(absl::Duration duration) override;
  void Advance(absl::Duration duration);

 private:
  mutable absl::Mutex mutex_;
  absl::Time now_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_BASE_CLOCK_H_
