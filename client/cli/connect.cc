#include "client/cli/connect.h"

#include <string>

#include "absl/flags/flag.h"

ABSL_FLAG(std::string, server, "127.0.0.1:8033", "host:port of transmla-server");
ABSL_FLAG(bool, tls, false, "Encrypt the connection");
ABSL_FLAG(std::string, tls_ca, "", "PEM file of the certificate authority; empty: the system's");
ABSL_FLAG(std::string, tls_cert, "", "PEM file of this client's certificate");
ABSL_FLAG(std::string, tls_key, "", "PEM file of this client's key");

namespace transmla {

absl::StatusOr<std::unique_ptr<Client>> ConnectFromFlags() {
  return Client::Connect({.server = absl::GetFlag(FLAGS_server),
                          .tls = absl::GetFlag(FLAGS_tls),
                          .tls_ca_file = absl::GetFlag(FLAGS_tls_ca),
                          .tls_cert_file = absl::GetFlag(FLAGS_tls_cert),
                          .tls_key_file = absl::GetFlag(FLAGS_tls_key)});
}

}  // namespace transmla
