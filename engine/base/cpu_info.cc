#include "engine/base/cpu_info.h"

#include <algorithm>
#include <fstream>
#include <string>
#include <vector>

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include <cpuid.h>

namespace transmla {
namespace {

std::string FirstLine(const char* path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// The value after "key<space>:" of the first such line in a /proc file; empty if there is none.
std::string ProcField(const char* path, absl::string_view key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    absl::string_view rest = line;
    if (!absl::ConsumePrefix(&rest, key)) continue;
    rest = absl::StripAsciiWhitespace(rest);
    if (absl::ConsumePrefix(&rest, ":")) return std::string(absl::StripAsciiWhitespace(rest));
  }
  return "";
}

int AffinityCores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

// Cores that the cgroup (version 2, then 1) lets this process use, rounded up; a large number if
// unlimited.
int CgroupCores() {
  constexpr int kUnlimited = 1 << 20;
  const std::vector<std::string> parts = absl::StrSplit(FirstLine("/sys/fs/cgroup/cpu.max"), ' ');
  int64_t quota = 0;
  int64_t period = 0;
  if (parts.size() != 2 || !absl::SimpleAtoi(parts[0], &quota) ||
      !absl::SimpleAtoi(parts[1], &period)) {
    if (!absl::SimpleAtoi(FirstLine("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), &quota) ||
        !absl::SimpleAtoi(FirstLine("/sys/fs/cgroup/cpu/cpu.cfs_period_us"), &period)) {
      return kUnlimited;
    }
  }
  if (quota <= 0 || period <= 0) return kUnlimited;
  return static_cast<int>(std::clamp<int64_t>((quota + period - 1) / period, 1, kUnlimited));
}

int64_t MemoryBytes() {
  int64_t bytes = int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGE_SIZE);
  for (const char* path :
       {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    int64_t limit = 0;
    if (absl::SimpleAtoi(FirstLine(path), &limit) && limit > 0) bytes = std::min(bytes, limit);
  }
  return bytes;
}

// Asks for leave to use the tile registers of AMX in all threads of this process
// (Documentation/arch/x86/xstate.rst of the kernel).
bool MayUseTiles() {
  constexpr int kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr int kTileData = 18;               // XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

void DetectInstructionSets(CpuInfo& info) {
  __builtin_cpu_init();
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  // CPUID leaf 1, ECX bit 29: F16C (Intel SDM volume 2A, CPUID).
  const bool f16c = __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx >> 29 & 1u) != 0;
  info.avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && f16c;
  info.avx512 = info.avx2 && __builtin_cpu_supports("avx512f") &&
                __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                __builtin_cpu_supports("avx512vl");
  info.avx512_vnni = info.avx512 && __builtin_cpu_supports("avx512vnni");
  info.avx512_bf16 = info.avx512 && __builtin_cpu_supports("avx512bf16");
  // CPUID leaf 7: subleaf 1, EAX, bit 4 AVX-VNNI; subleaf 0, EDX, bit 22 AMX-BF16, bit 24 AMX-TILE,
  // bit 25 AMX-INT8 (Intel SDM volume 2A, CPUID).
  info.avx_vnni =
      info.avx2 && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 && (eax >> 4 & 1u) != 0;
  if (info.avx512 && __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (edx >> 24 & 1u) &&
      MayUseTiles()) {
    info.amx_bf16 = edx >> 22 & 1u;
    info.amx_int8 = edx >> 25 & 1u;
  }
}

CpuInfo Detect() {
  CpuInfo info;
  info.model_name = ProcField("/proc/cpuinfo", "model name");
  info.usable_cores = std::min(AffinityCores(), CgroupCores());
  info.memory_bytes = MemoryBytes();
  DetectInstructionSets(info);
  return info;
}

}  // namespace

const CpuInfo& GetCpuInfo() {
  static const CpuInfo* const info = new CpuInfo(Detect());
  return *info;
}

int64_t PeakResidentBytes() {
  const std::vector<std::string> parts =
      absl::StrSplit(ProcField("/proc/self/status", "VmHWM"), ' ');
  int64_t kilobytes = 0;
  if (parts.empty() || !absl::SimpleAtoi(parts[0], &kilobytes)) return 0;
  return kilobytes * 1024;
}

}  // namespace transmla
