#include "server/served_model.h"

#include "absl/strings/str_cat.h"

#include "engine/base/error_reason.h"
#include "engine/base/page.h"
#include "server/translate.h"

namespace transmla {

absl::StatusOr<Engine*> ServedModel::ForNewRequest() const {
  switch (drain_cause_.load()) {
    case DrainCause::kUnload:
      return WithReason(
          absl::UnavailableError(absl::StrCat("model \"", name_, "\" is being unloaded")),
          reason::kDraining);
    case DrainCause::kShutdown:
      return WithReason(absl::UnavailableError("the server is shutting down; use another one"),
                        reason::kDraining);
    case DrainCause::kNone:
      break;
  }
  return ForReading();
}

absl::StatusOr<Engine*> ServedModel::ForReading() const {
  if (Engine* const loaded = engine(); loaded != nullptr) return loaded;
  return WithReason(
      absl::UnavailableError(absl::StrCat("model \"", name_, "\" is still loading; try again")),
      reason::kModelLoading);
}

ServerState ServedModel::state() const {
  const Engine* const loaded = engine();
  if (loaded == nullptr) return ServerState::kStarting;
  if (loaded->stats().failed) return ServerState::kFailed;
  return draining() ? ServerState::kDraining : ServerState::kReady;
}

int64_t ServedModel::memory_bytes() const {
  const Engine* const loaded = engine();
  if (loaded == nullptr) return reserved_bytes_;
  const ModelInfo& info = loaded->model();
  return info.weight_bytes + info.cache_pages * kPageTokens * info.cache_bytes_per_token;
}

v1::Model ToProto(const ServedModel& model) {
  const auto state = [&model] {
    switch (model.state()) {
      case ServerState::kStarting:
        return v1::Model::STATE_LOADING;
      case ServerState::kReady:
        return v1::Model::STATE_READY;
      case ServerState::kDraining:
        return v1::Model::STATE_DRAINING;
      case ServerState::kFailed:
        break;
    }
    return v1::Model::STATE_FAILED;
  }();
  if (const Engine* const engine = model.engine(); engine != nullptr) {
    return ToProto(engine->model(), state, engine->chat_template() != nullptr);
  }
  v1::Model loading;
  loading.set_name(model.name());
  loading.set_state(v1::Model::STATE_LOADING);
  return loading;
}

}  // namespace transmla
