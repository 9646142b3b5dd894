// Numbers from options, flags and files: within their bounds, or an error that names the number,
// its value and the bounds.
#ifndef TRANSMLA_ENGINE_BASE_CHECK_RANGE_H_
#define TRANSMLA_ENGINE_BASE_CHECK_RANGE_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace transmla {

// InvalidArgument unless least <= value <= most. `name` is what the user wrote: "--threads",
// "head_dim".
inline absl::Status CheckRange(absl::string_view name, int64_t value, int64_t least, int64_t most) {
  if (value >= least && value <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, " is ", value, "; it must be from ", least, " to ", most));
}

inline absl::Status CheckRange(absl::string_view name, absl::Duration value, absl::Duration least,
                               absl::Duration most) {
  if (value >= least && value <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name, " is ", absl::FormatDuration(value),
                                                 "; it must be from ", absl::FormatDuration(least),
                                                 " to ", absl::FormatDuration(most)));
}

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_BASE_CHECK_RANGE_H_
