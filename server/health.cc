#include "server/health.h"

#include <utility>

#include <grpcpp/health_check_service_interface.h>

#include "server/limits.h"

namespace transmla {
namespace {

constexpr const char* kServices[] = {"transmla.v1.GenerationService", "transmla.v1.ModelService",
                                     "google.longrunning.Operations"};

}  // namespace

Health::Health(ServedModel* model, Clock* clock, std::function<void()> on_failed)
    : model_(model),
      clock_(clock),
      on_failed_(std::move(on_failed)),
      last_check_nanos_(absl::ToUnixNanos(clock->Now())),
      thread_("health", [this] { Watch(); }) {}

Health::~Health() { Stop(); }

void Health::Attach(grpc::Server* server) {
  absl::MutexLock lock(&mutex_);
  server_ = server;
  Publish(false);
}

void Health::SetLoaded() {
  {
    absl::MutexLock lock(&mutex_);
    loaded_ = true;
  }
  Check();
}

void Health::SetDraining() {
  absl::MutexLock lock(&mutex_);
  if (state_ != ServerState::kFailed) state_ = ServerState::kDraining;
  Publish(false);
}

void Health::Stop() {
  if (stopped_.exchange(true)) return;
  stop_.Notify();
  thread_.Join();
  absl::MutexLock lock(&mutex_);
  server_ = nullptr;
}

void Health::Watch() {
  while (!stop_.WaitForNotificationWithTimeout(kHealthInterval)) {
    Check();
    last_check_nanos_ = absl::ToUnixNanos(clock_->Now());
  }
}

void Health::Check() {
  const Engine* const engine = model_->engine();
  if (engine == nullptr) return;
  // Not under the lock: a stuck engine must not hold up SetDraining.
  const EngineStats stats = engine->stats();
  bool failed_now = false;
  {
    absl::MutexLock lock(&mutex_);
    if (!loaded_ || state_ == ServerState::kFailed) return;
    if (stats.failed) {
      state_ = ServerState::kFailed;
      failed_now = true;
      Publish(false);
    } else if (state_ != ServerState::kDraining) {
      state_ = ServerState::kReady;
      Publish(stats.heartbeat_age <= kMaxHeartbeatAge);
    }
  }
  if (failed_now) on_failed_();
}

bool Health::IsFresh() const {
  return clock_->Now() - absl::FromUnixNanos(last_check_nanos_.load()) <= kMaxHeartbeatAge;
}

void Health::Publish(bool serving) {
  const bool changed = ready_.exchange(serving) != serving;
  // The first call must also override gRPC's own "serving from the start".
  if (server_ == nullptr || (!changed && serving)) return;
  grpc::HealthCheckServiceInterface* const service = server_->GetHealthCheckService();
  for (const char* name : kServices) service->SetServingStatus(name, serving);
  // Once the services are listed by name, this sets all of them and the server as a whole ("").
  service->SetServingStatus(serving);
}

}  // namespace transmla
