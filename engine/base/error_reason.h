// A machine-readable reason beside the code of an absl::Status, for clients that must tell one
// ResourceExhausted from another. Carried as a payload; whoever reports the status reads it.
//
// Reasons are UPPER_SNAKE_CASE, at most 63 characters, and never change their meaning.
#ifndef TRANSMLA_ENGINE_BASE_ERROR_REASON_H_
#define TRANSMLA_ENGINE_BASE_ERROR_REASON_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"

namespace transmla {

inline constexpr absl::string_view kErrorReasonUrl = "transmla.dev/reason";

// `status` with `reason`; OK stays OK.
inline absl::Status WithReason(absl::Status status, absl::string_view reason) {
  if (!status.ok()) status.SetPayload(kErrorReasonUrl, absl::Cord(reason));
  return status;
}

// The reason of `status`; empty if it has none.
inline std::string ErrorReason(const absl::Status& status) {
  const absl::optional<absl::Cord> payload = status.GetPayload(kErrorReasonUrl);
  return payload.has_value() ? std::string(*payload) : std::string();
}

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_BASE_ERROR_REASON_H_
