// Helpers to pass an absl::Status up and to say where it came from.
//
// A message says what is wrong, the offending value, the limit and what to do: "model.gguf: tensor
// blk.0.attn_q.weight ends at byte 9000 but the file has 8192; the download is probably truncated".
#ifndef TRANSMLA_ENGINE_BASE_STATUS_H_
#define TRANSMLA_ENGINE_BASE_STATUS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace transmla {

// Puts "context: " before the message of an error and keeps its code and payloads; passes OK
// through.
inline absl::Status Annotate(const absl::Status& status, absl::string_view context) {
  if (status.ok()) return status;
  absl::Status annotated(status.code(), absl::StrCat(context, ": ", status.message()));
  status.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) {
    annotated.SetPayload(url, payload);
  });
  return annotated;
}

}  // namespace transmla

#define TRANSMLA_STATUS_CONCAT_INNER_(a, b) a##b
#define TRANSMLA_STATUS_CONCAT_(a, b) TRANSMLA_STATUS_CONCAT_INNER_(a, b)

// Returns from the enclosing function if `expr` (an absl::Status) is an error.
#define RETURN_IF_ERROR(expr)                                       \
  do {                                                              \
    if (absl::Status status_macro_ = (expr); !status_macro_.ok()) { \
      return status_macro_;                                         \
    }                                                               \
  } while (false)

// ASSIGN_OR_RETURN(auto x, F()): declares or assigns the value of an absl::StatusOr, or returns its
// error.
#define ASSIGN_OR_RETURN(lhs, expr) \
  ASSIGN_OR_RETURN_IMPL_(TRANSMLA_STATUS_CONCAT_(status_or_, __LINE__), lhs, expr)
#define ASSIGN_OR_RETURN_IMPL_(holder, lhs, expr) \
  auto holder = (expr);                           \
  if (!holder.ok()) return holder.status();       \
  lhs = std::move(holder).value()

#endif  // TRANSMLA_ENGINE_BASE_STATUS_H_
