#include "engine/sample/stop.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"

namespace transmla {

StopMatcher::Result StopMatcher::Push(absl::string_view text) {
  if (stops_.empty()) return {std::string(text), ""};
  held_.append(text);
  size_t first = std::string::npos;
  const std::string* match = nullptr;
  for (const std::string& stop : stops_) {
    const size_t at = held_.find(stop);
    if (at < first) {
      first = at;
      match = &stop;
    }
  }
  if (match != nullptr) {
    held_.resize(first + (include_ ? match->size() : 0));
    return {std::exchange(held_, ""), *match};
  }
  size_t keep = 0;  // longest end of held_ that begins a stop string
  for (const std::string& stop : stops_) {
    for (size_t n = std::min(stop.size() - 1, held_.size()); n > keep; --n) {
      if (absl::EndsWith(held_, absl::string_view(stop).substr(0, n))) {
        keep = n;
        break;
      }
    }
  }
  Result result{held_.substr(0, held_.size() - keep), ""};
  held_.erase(0, held_.size() - keep);
  return result;
}

std::string StopMatcher::Flush() { return std::exchange(held_, ""); }

}  // namespace transmla
