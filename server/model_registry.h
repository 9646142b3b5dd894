// ModelRegistry: the models that are served, by name.
//
// The first one is the one that the server was started with; it stays. Others come and go while
// requests run: a request holds its model from its first look-up to its end.
#ifndef TRANSMLA_SERVER_MODEL_REGISTRY_H_
#define TRANSMLA_SERVER_MODEL_REGISTRY_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"

#include "server/served_model.h"

namespace transmla {

// Thread-safe; never blocks for longer than a look into a small map.
class ModelRegistry {
 public:
  explicit ModelRegistry(std::shared_ptr<ServedModel> first);

  ServedModel& first() const { return *first_; }
  const std::shared_ptr<ServedModel>& shared_first() const { return first_; }
  // The first one for an empty name. NotFound, naming those that are served.
  absl::StatusOr<std::shared_ptr<ServedModel>> Find(absl::string_view name) const;
  // The first one, then the others by name.
  std::vector<std::shared_ptr<ServedModel>> All() const;

  // AlreadyExists (name taken), ResourceExhausted (kMaxModels), Unavailable (shutting down).
  absl::Status CheckFree(const std::string& name) const;
  // The same, and changes nothing then.
  absl::Status Add(std::shared_ptr<ServedModel> model);
  // REQUIRES: not the first; its engine, if there is one, is stopped.
  void Remove(const std::string& name);

  // For the end of the server: every model refuses requests, and none is added any more.
  void StartDraining();

 private:
  absl::Status CheckFreeLocked(const std::string& name) const ABSL_SHARED_LOCKS_REQUIRED(mutex_);

  const std::shared_ptr<ServedModel> first_;
  mutable absl::Mutex mutex_;
  std::map<std::string, std::shared_ptr<ServedModel>> others_ ABSL_GUARDED_BY(mutex_);
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace transmla

#endif  // TRANSMLA_SERVER_MODEL_REGISTRY_H_
