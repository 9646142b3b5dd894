#include "engine/base/cpu_placement.h"

#include <algorithm>
#include <fstream>
#include <map>
#include <string>
#include <tuple>
#include <utility>

#include <sched.h>

#include "absl/strings/str_cat.h"

namespace transmla {
namespace {

// The number in a file of the processor's folder; 0 if there is none.
int64_t NumberOf(int cpu, const char* file) {
  std::ifstream in(absl::StrCat("/sys/devices/system/cpu/cpu", cpu, "/", file));
  int64_t number = 0;
  in >> number;
  return in ? number : 0;
}

}  // namespace

std::vector<int> PlacementOrder(absl::Span<const CpuPlace> places) {
  std::vector<CpuPlace> sorted(places.begin(), places.end());
  std::sort(sorted.begin(), sorted.end(),
            [](const CpuPlace& a, const CpuPlace& b) { return a.cpu < b.cpu; });
  std::map<std::pair<int, int>, int> seen;  // hardware threads of a core so far
  std::vector<std::tuple<int, int64_t, int, int>> keys;
  for (const CpuPlace& place : sorted) {
    const int sibling = seen[{place.package, place.core}]++;
    keys.emplace_back(sibling, -place.speed, place.package, place.cpu);
  }
  std::sort(keys.begin(), keys.end());
  std::vector<int> order;
  order.reserve(keys.size());
  for (const auto& key : keys) order.push_back(std::get<3>(key));
  return order;
}

std::vector<CpuPlace> UsableCpuPlaces() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  if (sched_getaffinity(0, sizeof(mask), &mask) != 0) return {};
  std::vector<CpuPlace> places;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &mask)) continue;
    places.push_back({.cpu = cpu,
                      .package = static_cast<int>(NumberOf(cpu, "topology/physical_package_id")),
                      .core = static_cast<int>(NumberOf(cpu, "topology/core_id")),
                      .speed = NumberOf(cpu, "cpufreq/cpuinfo_max_freq")});
  }
  return places;
}

bool BindThisThread(int cpu) {
  if (cpu < 0 || cpu >= CPU_SETSIZE) return false;
  cpu_set_t mask;
  CPU_ZERO(&mask);
  CPU_SET(cpu, &mask);
  return sched_setaffinity(0, sizeof(mask), &mask) == 0;
}

}  // namespace transmla
