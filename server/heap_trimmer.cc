#include "server/heap_trimmer.h"

#include <malloc.h>

namespace transmla {

HeapTrimmer::HeapTrimmer(absl::Duration period) : period_(period) {
  thread_ = Thread("heap", [this] {
    while (!stop_.WaitForNotificationWithTimeout(period_)) malloc_trim(/*pad=*/0);
  });
}

HeapTrimmer::~HeapTrimmer() { stop_.Notify(); }

}  // namespace transmla
