// ProcessStats: what the kernel knows about this process (proc(5)).
#ifndef TRANSMLA_SERVER_PROCESS_STATS_H_
#define TRANSMLA_SERVER_PROCESS_STATS_H_

#include <cstdint>

namespace transmla {

// A field that cannot be read is 0.
struct ProcessStats {
  int64_t resident_bytes = 0;
  double cpu_seconds = 0;  // user and system
  int64_t open_fds = 0;
  int64_t threads = 0;
  double start_time_seconds = 0;  // since the Unix epoch
};

ProcessStats ReadProcessStats();
struct MemoryStats {
  int64_t total_bytes = 0;      // least of the machine's and the container's limit
  int64_t available_bytes = 0;  // that could be had without swapping
};

MemoryStats ReadMemoryStats();
// Memory that could be had without swapping, bytes; 0 if the kernel does not say.
int64_t AvailableMemoryBytes();

}  // namespace transmla

#endif  // TRANSMLA_SERVER_PROCESS_STATS_H_
