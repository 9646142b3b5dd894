#include "client/lib/errors.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "google/rpc/error_details.pb.h"

namespace transmla {

absl::Status ToAbslStatus(const google::rpc::Status& status) {
  if (status.code() == 0) return absl::OkStatus();
  std::string message = status.message();
  for (const google::protobuf::Any& detail : status.details()) {
    google::rpc::ErrorInfo info;
    google::rpc::RetryInfo retry;
    if (detail.UnpackTo(&info)) {
      absl::StrAppend(&message, " [", info.reason(), "]");
    } else if (detail.UnpackTo(&retry)) {
      absl::StrAppend(&message, "; retry in ",
                      absl::FormatDuration(absl::Seconds(retry.retry_delay().seconds()) +
                                           absl::Nanoseconds(retry.retry_delay().nanos())));
    }
  }
  // gRPC's codes and Abseil's are the same numbers (google/rpc/code.proto).
  return absl::Status(static_cast<absl::StatusCode>(status.code()), message);
}

absl::Status ToAbslStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  google::rpc::Status details;
  if (status.error_details().empty() || !details.ParseFromString(status.error_details())) {
    return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
  }
  details.set_code(status.error_code());
  details.set_message(status.error_message());
  return ToAbslStatus(details);
}

}  // namespace transmla
