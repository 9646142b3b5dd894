// What this process may use of the machine: cores under the container's limits, and instruction
// sets the processor reports.
#ifndef TRANSMLA_ENGINE_BASE_CPU_INFO_H_
#define TRANSMLA_ENGINE_BASE_CPU_INFO_H_

#include <cstdint>
#include <string>

namespace transmla {

struct CpuInfo {
  std::string model_name;  // as /proc/cpuinfo says; empty if unknown
  int usable_cores =
      1;  // least of the affinity mask and the cgroup's quota, rounded up; at least 1
  int64_t memory_bytes = 0;  // least of physical memory and the cgroup's limit
  bool avx2 = false;         // with FMA and F16C
  bool avx_vnni = false;     // with AVX2
  bool avx512 = false;       // F, BW, DQ, VL
  bool avx512_vnni = false;
  bool avx512_bf16 = false;
  // With the kernel's leave to use tile registers, which it gives a process that asks: reading this
  // asks.
  bool amx_int8 = false;
  bool amx_bf16 = false;
};

// Read once, at the first call; never destroyed. Thread-safe.
const CpuInfo& GetCpuInfo();

// Peak resident memory of this process so far, in bytes (VmHWM of /proc/self/status); 0 if unknown.
int64_t PeakResidentBytes();

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_BASE_CPU_INFO_H_
