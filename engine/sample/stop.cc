#include "engine/sample/stop.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace transmla {

StopMatcher::Result StopMatcher::Push(absl::string_view text) {
  if (stops_.empty()) return {std::string(text), ""};
  absl::StrAppend(&held_, text);
  size_t end = std::string::npos;
  const std::string* match = nullptr;
  for (const std::string& stop : stops_) {
    const size_t at = held_.find(stop);
    if (at == std::string::npos) continue;
    const size_t stop_end = at + stop.size();
    if (stop_end < end || (stop_end == end && stop.size() > match->size())) {
      end = stop_end;
      match = &stop;
    }
  }
  if (match != nullptr) {
    held_.resize(include_ ? end : end - match->size());
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
