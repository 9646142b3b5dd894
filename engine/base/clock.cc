#include "engine/base/clock.h"

#include "absl/time/clock.h"

namespace transmla {
namespace {

class RealClock : public Clock {
 public:
  absl::Time Now() const override { return absl::Now(); }
  void Sleep(absl::Duration duration) override { absl::SleepFor(duration); }
};

}  // namespace

Clock* SystemClock() {
  static Clock* const clock = new RealClock;
  return clock;
}

absl::Time FakeClock::Now() const {
  absl::MutexLock lock(&mutex_);
  return now_;
}

void FakeClock::Sleep(absl::Duration duration) {
  absl::MutexLock lock(&mutex_);
  const absl::Time end = now_ + duration;
  const auto reached = [this, end]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return now_ >= end; };
  mutex_.Await(absl::Condition(&reached));
}

void FakeClock::Advance(absl::Duration duration) {
  absl::MutexLock lock(&mutex_);
  now_ += duration;
}

}  // namespace transmla
