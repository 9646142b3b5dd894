#include "server/process_stats.h"

#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>
#include <vector>

#include <unistd.h>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

#include "engine/base/cpu_info.h"

namespace transmla {
namespace {

std::string FirstLine(const char* path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// The number after `key` in a file of "key value" lines; 0 if there is none.
int64_t ValueOf(const char* path, absl::string_view key) {
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line)) {
    absl::string_view rest = line;
    if (!absl::ConsumePrefix(&rest, key)) continue;
    const std::vector<absl::string_view> words = absl::StrSplit(rest, ' ', absl::SkipEmpty());
    int64_t value = 0;
    if (!words.empty() && absl::SimpleAtoi(words[0], &value)) return value;
  }
  return 0;
}

}  // namespace

ProcessStats ReadProcessStats() {
  ProcessStats stats;
  const std::string line = FirstLine("/proc/self/stat");
  // The second field, the name, may hold spaces; it ends at the last parenthesis.
  const size_t name_end = line.rfind(')');
  if (name_end == std::string::npos || name_end + 2 > line.size()) return stats;
  const std::vector<std::string> fields = absl::StrSplit(line.substr(name_end + 2), ' ');
  // Numbers of proc(5) minus 3: the first field here is the third there.
  const auto field = [&](size_t number) {
    int64_t value = 0;
    if (number - 3 >= fields.size() || !absl::SimpleAtoi(fields[number - 3], &value)) return 0.0;
    return static_cast<double>(value);
  };
  const auto ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
  stats.cpu_seconds = (field(14) + field(15)) / ticks;
  stats.threads = static_cast<int64_t>(field(20));
  stats.resident_bytes = static_cast<int64_t>(field(24)) * sysconf(_SC_PAGESIZE);
  stats.start_time_seconds =
      static_cast<double>(ValueOf("/proc/stat", "btime ")) + field(22) / ticks;
  std::error_code error;
  for (auto it = std::filesystem::directory_iterator("/proc/self/fd", error);
       !error && it != std::filesystem::directory_iterator(); it.increment(error)) {
    ++stats.open_fds;
  }
  return stats;
}

int64_t AvailableMemoryBytes() { return ValueOf("/proc/meminfo", "MemAvailable:") * 1024; }

MemoryStats ReadMemoryStats() {
  return {.total_bytes = GetCpuInfo().memory_bytes, .available_bytes = AvailableMemoryBytes()};
}

}  // namespace transmla
