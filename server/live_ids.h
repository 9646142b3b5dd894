// LiveIds: the request ids that clients use now.
#ifndef TRANSMLA_SERVER_LIVE_IDS_H_
#define TRANSMLA_SERVER_LIVE_IDS_H_

#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/synchronization/mutex.h"

namespace transmla {

// Thread-safe.
class LiveIds {
 public:
  // False if it is used already.
  bool Add(const std::string& id) {
    absl::MutexLock lock(&mutex_);
    return ids_.insert(id).second;
  }
  void Remove(const std::string& id) {
    absl::MutexLock lock(&mutex_);
    ids_.erase(id);
  }

 private:
  absl::Mutex mutex_;
  absl::flat_hash_set<std::string> ids_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace transmla

#endif  // TRANSMLA_SERVER_LIVE_IDS_H_
