// What a server's error becomes: an absl::Status whose message carries the machine-readable reason.
#ifndef TRANSMLA_CLIENT_LIB_ERRORS_H_
#define TRANSMLA_CLIENT_LIB_ERRORS_H_

#include "absl/status/status.h"
#include "google/rpc/status.pb.h"
#include <grpcpp/support/status.h>

namespace transmla {

// "message [REASON]"; the retry delay, where the server names one, follows as "retry in 2s".
absl::Status ToAbslStatus(const grpc::Status& status);

// The error of a finished operation.
absl::Status ToAbslStatus(const google::rpc::Status& status);

}  // namespace transmla

#endif  // TRANSMLA_CLIENT_LIB_ERRORS_H_
