// HugePageMover: moves memory that is already in use to huge pages, in the background.
//
// Weights are read as a whole in each step, through more small pages than the processor keeps
// translations of. To ask for huge pages before they are written would hold up the first token:
// the system may have to make them first.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_HUGE_PAGES_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_HUGE_PAGES_H_

#include <vector>

#include "absl/synchronization/notification.h"
#include "absl/types/span.h"

#include "engine/backend/cpu/panel_memory.h"
#include "engine/base/thread.h"

namespace transmla::cpu {

// Thread-compatible.
class HugePageMover {
 public:
  HugePageMover() = default;
  // Waits for the page being moved.
  ~HugePageMover();

  // Moves what fills huge pages of its own, a second later, when the first token is likely out, on
  // a thread of the lowest priority, while others may read and write it. Does nothing where the
  // system's administrator has switched huge pages off, and leaves the moving to the kernel where
  // that cannot do it on request (before Linux 6.1). At most once.
  void Start(std::vector<PanelMemory::Part> parts);

 private:
  void Move(absl::Span<const PanelMemory::Part> parts);

  bool started_ = false;
  absl::Notification stop_;
  Thread thread_;  // the last member: it uses the others
};

}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_HUGE_PAGES_H_
