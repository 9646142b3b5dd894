// Health: one state of the server, for grpc.health.v1 and for the HTTP probes.
//
// It is that of the model that the server was started with: one that was loaded later and fails is
// told of by GetModel and by its metrics. A thread of its own looks at the engine's heartbeat;
// whoever probes reads atomics and never waits for the engine. "Full" is healthy; an engine that is
// silent or dead is not.
#ifndef TRANSMLA_SERVER_HEALTH_H_
#define TRANSMLA_SERVER_HEALTH_H_

#include <atomic>
#include <cstdint>
#include <functional>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include <grpcpp/grpcpp.h>

#include "engine/base/clock.h"
#include "engine/base/thread.h"
#include "server/metrics.h"
#include "server/served_model.h"

namespace transmla {

// Thread-safe.
class Health {
 public:
  // `on_failed` is called once, on the health thread, when the engine has failed for good.
  Health(ServedModel* model, Clock* clock, std::function<void()> on_failed);
  ~Health();

  // Makes every service of `server` NOT_SERVING and from then on keeps its health service up to
  // date. Call right after the server was started.
  void Attach(grpc::Server* server);
  // The engine is there: serving as long as its heart beats.
  void SetLoaded();
  // Not serving, for good. Returns when the health service says so.
  void SetDraining();
  // Joins the thread; `server` of Attach is not touched afterwards. Idempotent.
  void Stop();

  ServerState state() const { return state_.load(); }
  // The process can do its work: true while loading, draining or full.
  bool alive() const { return state() != ServerState::kFailed; }
  // New requests are welcome.
  bool ready() const { return ready_.load() && IsFresh(); }

 private:
  void Watch();
  void Check();
  // The health thread itself is not stuck in the engine.
  bool IsFresh() const;
  void Publish(bool serving) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  ServedModel* const model_;
  Clock* const clock_;
  const std::function<void()> on_failed_;
  std::atomic<ServerState> state_{ServerState::kStarting};
  std::atomic<bool> ready_{false};
  std::atomic<int64_t> last_check_nanos_;

  absl::Mutex mutex_;
  grpc::Server* server_ ABSL_GUARDED_BY(mutex_) = nullptr;
  bool loaded_ ABSL_GUARDED_BY(mutex_) = false;

  absl::Notification stop_;
  std::atomic<bool> stopped_{false};
  Thread thread_;  // last: uses the above
};

}  // namespace transmla

#endif  // TRANSMLA_SERVER_HEALTH_H_
