#include "engine/backend/cpu/huge_pages.h"

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>

#include <sys/mman.h>

#include "absl/strings/match.h"
#include "absl/time/time.h"

#include "engine/base/checked_math.h"

namespace transmla::cpu {
namespace {

constexpr int64_t kHugePageBytes = int64_t{2} << 20;  // x86-64
constexpr int kCollapse = 25;                         // MADV_COLLAPSE, in headers since glibc 2.37
constexpr int kLeastPriority = 19;
// Each move holds up whatever touches new memory meanwhile.
constexpr absl::Duration kDelay = absl::Seconds(1);

bool SwitchedOff() {
  std::ifstream file("/sys/kernel/mm/transparent_hugepage/enabled");
  const std::string modes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  return absl::StrContains(modes, "[never]");
}

// The whole huge pages of a part.
struct Range {
  std::byte* begin;
  int64_t bytes;
};
Range WholePages(const PanelMemory::Part& part) {
  std::byte* const data = part.arena->data();
  const auto address = reinterpret_cast<uintptr_t>(data);
  const auto skipped =
      static_cast<int64_t>(CeilDiv(address, uintptr_t{kHugePageBytes}) * kHugePageBytes - address);
  return {data + skipped, (part.used - skipped) / kHugePageBytes * kHugePageBytes};
}

}  // namespace

HugePageMover::~HugePageMover() { stop_.Notify(); }

void HugePageMover::Start(std::vector<PanelMemory::Part> parts) {
  bool any = false;
  for (const PanelMemory::Part& part : parts) any |= WholePages(part).bytes > 0;
  if (started_ || !any || SwitchedOff()) return;
  started_ = true;
  thread_ = Thread("huge-pages", [this, parts = std::move(parts)] { Move(parts); });
}

void HugePageMover::Move(absl::Span<const PanelMemory::Part> parts) {
  if (stop_.WaitForNotificationWithTimeout(kDelay)) return;
  LowerPriorityOfThisThread(kLeastPriority);
  for (const PanelMemory::Part& part : parts) {
    const Range range = WholePages(part);
    for (int64_t at = 0; at < range.bytes; at += kHugePageBytes) {
      if (stop_.HasBeenNotified()) return;
      // Advice only: a page that cannot be moved stays as it is.
      if (madvise(range.begin + at, kHugePageBytes, kCollapse) == 0 || errno != EINVAL) continue;
      madvise(range.begin, static_cast<size_t>(range.bytes), MADV_HUGEPAGE);
      break;
    }
  }
}

}  // namespace transmla::cpu
