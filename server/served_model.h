// ServedModel: the engine as the services see it, from "still loading" to "draining".
#ifndef TRANSMLA_SERVER_SERVED_MODEL_H_
#define TRANSMLA_SERVER_SERVED_MODEL_H_

#include <atomic>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

#include "engine/base/error_reason.h"
#include "engine/engine.h"
#include "server/translate.h"

namespace transmla {

// Thread-safe; never blocks. The engine outlives every RPC.
class ServedModel {
 public:
  explicit ServedModel(std::string name) : name_(std::move(name)) {}

  const std::string& name() const { return name_; }
  void SetEngine(Engine* engine) { engine_.store(engine, std::memory_order_release); }
  // New requests are refused from now on.
  void StartDraining() { draining_.store(true); }
  bool draining() const { return draining_.load(); }

  // Null while loading.
  Engine* engine() const { return engine_.load(std::memory_order_acquire); }

  // The engine, for a new request. Unavailable while loading or draining.
  absl::StatusOr<Engine*> ForNewRequest() const {
    if (draining()) {
      return WithReason(absl::UnavailableError("the server is shutting down; use another one"),
                        reason::kDraining);
    }
    return ForReading();
  }
  // The engine, for what a draining server still answers. Unavailable while loading.
  absl::StatusOr<Engine*> ForReading() const {
    if (Engine* const loaded = engine(); loaded != nullptr) return loaded;
    return WithReason(
        absl::UnavailableError(absl::StrCat("model \"", name_, "\" is still loading; try again")),
        reason::kModelLoading);
  }

 private:
  const std::string name_;
  std::atomic<Engine*> engine_{nullptr};
  std::atomic<bool> draining_{false};
};

}  // namespace transmla

#endif  // TRANSMLA_SERVER_SERVED_MODEL_H_
