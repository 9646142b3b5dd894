// The flags with which every command that talks to a server finds it: --server, --tls, --tls_ca,
// --tls_cert, --tls_key.
#ifndef TRANSMLA_CLIENT_CLI_CONNECT_H_
#define TRANSMLA_CLIENT_CLI_CONNECT_H_

#include <memory>

#include "absl/status/statusor.h"

#include "client/lib/client.h"

namespace transmla {

// Connects as the flags say.
absl::StatusOr<std::unique_ptr<Client>> ConnectFromFlags();

}  // namespace transmla

#endif  // TRANSMLA_CLIENT_CLI_CONNECT_H_
