// Opens the gRPC channel of a client: TLS, limits, keepalive.
#ifndef TRANSMLA_CLIENT_LIB_CHANNEL_H_
#define TRANSMLA_CLIENT_LIB_CHANNEL_H_

#include <memory>

#include "absl/status/statusor.h"
#include <grpcpp/channel.h>

#include "client/lib/client.h"

namespace transmla {

// A connected channel, or why there is none.
absl::StatusOr<std::shared_ptr<grpc::Channel>> OpenChannel(const ClientOptions& options);

}  // namespace transmla

#endif  // TRANSMLA_CLIENT_LIB_CHANNEL_H_
