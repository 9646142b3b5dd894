#include "server/model_registry.h"

#include <utility>

#include "absl/strings/str_cat.h"

#include "engine/base/check.h"
#include "engine/base/error_reason.h"
#include "engine/base/status.h"
#include "server/limits.h"
#include "server/translate.h"

namespace transmla {

ModelRegistry::ModelRegistry(std::shared_ptr<ServedModel> first) : first_(std::move(first)) {}

absl::StatusOr<std::shared_ptr<ServedModel>> ModelRegistry::Find(absl::string_view name) const {
  if (name.empty() || name == first_->name()) return first_;
  absl::MutexLock lock(&mutex_);
  if (const auto found = others_.find(std::string(name)); found != others_.end()) {
    return found->second;
  }
  std::vector<std::string> served = {first_->name()};
  for (const auto& [other, model] : others_) served.push_back(other);
  return ModelNotFound(name, served);
}

std::vector<std::shared_ptr<ServedModel>> ModelRegistry::All() const {
  std::vector<std::shared_ptr<ServedModel>> all = {first_};
  absl::MutexLock lock(&mutex_);
  for (const auto& [name, model] : others_) all.push_back(model);
  return all;
}

absl::Status ModelRegistry::CheckFree(const std::string& name) const {
  absl::MutexLock lock(&mutex_);
  return CheckFreeLocked(name);
}

absl::Status ModelRegistry::CheckFreeLocked(const std::string& name) const {
  if (draining_) {
    return WithReason(absl::UnavailableError("the server is shutting down; use another one"),
                      reason::kDraining);
  }
  if (name == first_->name() || others_.count(name) > 0) {
    return WithReason(
        absl::AlreadyExistsError(absl::StrCat("a model \"", name,
                                              "\" is served already; unload it first, or choose "
                                              "another name")),
        reason::kTargetExists);
  }
  if (others_.size() + 1 >= kMaxModels) {
    return WithReason(absl::ResourceExhaustedError(absl::StrCat(
                          kMaxModels, " models are served, the most there may be; unload one")),
                      reason::kNoMemory);
  }
  return absl::OkStatus();
}

absl::Status ModelRegistry::Add(std::shared_ptr<ServedModel> model) {
  absl::MutexLock lock(&mutex_);
  RETURN_IF_ERROR(CheckFreeLocked(model->name()));
  std::string name = model->name();
  others_.emplace(std::move(name), std::move(model));
  return absl::OkStatus();
}

void ModelRegistry::Remove(const std::string& name) {
  std::shared_ptr<ServedModel> removed;  // destroyed after the lock: it may hold the last of it
  absl::MutexLock lock(&mutex_);
  const auto found = others_.find(name);
  CHECK(found != others_.end());
  removed = std::move(found->second);
  others_.erase(found);
}

void ModelRegistry::StartDraining() {
  {
    absl::MutexLock lock(&mutex_);
    draining_ = true;
  }
  for (const auto& model : All()) model->StartDraining(ServedModel::DrainCause::kShutdown);
}

}  // namespace transmla
