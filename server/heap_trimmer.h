// HeapTrimmer gives freed memory back to the system while the server runs.
//
// glibc keeps what is freed between pieces still in use, in an arena for every few threads, up to
// the most that each ever needed at once. A server that runs for months under changing traffic
// would seem to grow, and count against its container's limit, without holding anything.
#ifndef TRANSMLA_SERVER_HEAP_TRIMMER_H_
#define TRANSMLA_SERVER_HEAP_TRIMMER_H_

#include "absl/synchronization/notification.h"
#include "absl/time/time.h"

#include "engine/base/thread.h"

namespace transmla {

// Trims every `period`, which is real time, from construction to destruction. A trim takes about a
// millisecond for ten megabytes of heap, and stops allocation of an arena's threads as long; big
// blocks, such as weights and the cache, are not in the heap.
class HeapTrimmer {
 public:
  explicit HeapTrimmer(absl::Duration period);
  ~HeapTrimmer();

 private:
  const absl::Duration period_;
  absl::Notification stop_;
  Thread thread_;
};

}  // namespace transmla

#endif  // TRANSMLA_SERVER_HEAP_TRIMMER_H_
