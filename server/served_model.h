// ServedModel: one model as the services see it, from "still loading" to "draining".
#ifndef TRANSMLA_SERVER_SERVED_MODEL_H_
#define TRANSMLA_SERVER_SERVED_MODEL_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "transmla/v1/model.pb.h"

#include "engine/engine.h"
#include "server/metrics.h"

namespace transmla {

// Thread-safe; never blocks. Owns the engine: whoever uses it holds a shared_ptr of this meanwhile.
// The last one to let go must not be the engine's own thread, so an engine is stopped before the
// registry forgets its model.
class ServedModel {
 public:
  enum class DrainCause { kNone, kUnload, kShutdown };

  // `reserved_bytes`: what weights and cache are expected to take, counted until they are loaded.
  ServedModel(std::string name, bool vllm_metrics, int64_t reserved_bytes = 0)
      : name_(std::move(name)), reserved_bytes_(reserved_bytes), metrics_(name_, vllm_metrics) {}

  const std::string& name() const { return name_; }
  // Of this model; also the engine's StatsSink.
  Metrics& metrics() { return metrics_; }

  // Once. Requests are accepted from now on.
  void SetEngine(std::unique_ptr<Engine> engine) {
    owned_engine_ = std::move(engine);
    engine_.store(owned_engine_.get(), std::memory_order_release);
  }
  // New requests are refused from now on. The first cause stays; false if there was one already.
  bool StartDraining(DrainCause cause) {
    DrainCause none = DrainCause::kNone;
    return drain_cause_.compare_exchange_strong(none, cause);
  }
  bool draining() const { return drain_cause_.load() != DrainCause::kNone; }

  // Null while loading.
  Engine* engine() const { return engine_.load(std::memory_order_acquire); }

  // The engine, for a new request. Unavailable while loading or draining.
  absl::StatusOr<Engine*> ForNewRequest() const;
  // The engine, for what a draining model still answers. Unavailable while loading.
  absl::StatusOr<Engine*> ForReading() const;

  // kFailed if its engine has failed for good.
  ServerState state() const;
  // Of weights and cache, which is counted whole although the kernel gives pages as they are used.
  int64_t memory_bytes() const;

 private:
  const std::string name_;
  const int64_t reserved_bytes_;
  Metrics metrics_;
  std::unique_ptr<Engine> owned_engine_;  // before metrics_ goes
  std::atomic<Engine*> engine_{nullptr};
  std::atomic<DrainCause> drain_cause_{DrainCause::kNone};
};

// What a client is told of it: name and state only while it loads.
v1::Model ToProto(const ServedModel& model);

}  // namespace transmla

#endif  // TRANSMLA_SERVER_SERVED_MODEL_H_
