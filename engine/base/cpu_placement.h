// Which processors threads that are bound to one should take.
#ifndef TRANSMLA_ENGINE_BASE_CPU_PLACEMENT_H_
#define TRANSMLA_ENGINE_BASE_CPU_PLACEMENT_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace transmla {

// A processor as Linux counts them: a hardware thread of a core of a package.
struct CpuPlace {
  int cpu = 0;
  int package = 0;
  int core = 0;       // within the package
  int64_t speed = 0;  // greater is faster; comparable within a machine
};

// The processors in the order in which threads should take them: a core's second hardware threads
// after all first ones, which share its units; of these faster cores first, as hybrid processors
// have of two kinds; of these one package after the other, as memory is nearer within one.
std::vector<int> PlacementOrder(absl::Span<const CpuPlace> places);

// The processors of this thread's affinity mask, as /sys/devices/system/cpu describes them; what it
// does not say is taken for alike. Empty if the mask cannot be read.
std::vector<CpuPlace> UsableCpuPlaces();

// Lets the calling thread, and those that it starts from now on, run on `cpu` alone. False, with
// nothing done, if the system does not allow it.
bool BindThisThread(int cpu);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_BASE_CPU_PLACEMENT_H_
