// ServerConfig: what the command line asks for. Parsed once, immutable afterwards.
#ifndef TRANSMLA_SERVER_CONFIG_H_
#define TRANSMLA_SERVER_CONFIG_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

#include "engine/engine.h"
#include "server/logging.h"

namespace transmla {

struct ServerConfig {
  EngineOptions engine;  // model_name is never empty

  std::string listen = "127.0.0.1:8033";          // gRPC, HOST:PORT
  std::string metrics_listen = "127.0.0.1:9090";  // HTTP; empty: none
  bool insecure_bind = false;                     // listen beyond this machine without TLS
  std::string tls_cert;                           // PEM files; certificate and key go together
  std::string tls_key;
  std::string tls_client_ca;  // clients must show a certificate of this authority

  absl::Duration stream_stall_timeout = absl::Seconds(30);  // 1 s to 1 h
  absl::Duration drain_delay = absl::ZeroDuration();        // 0 to 10 min
  absl::Duration grace_period = absl::Seconds(45);          // 0 to 1 h

  std::string conversion_root;  // folder; empty: no conversions
  int conversion_threads = 1;   // of a conversion, 1 to 1024
  bool vllm_metrics = true;
  LogFormat log_format = LogFormat::kText;
};

// From the flags that ParseFlags (engine/base/command_line.h) has read. InvalidArgument naming
// flag, value and range.
absl::StatusOr<ServerConfig> ConfigFromFlags();
// What --help prints.
std::string HelpText();

// "…/SmolLM2.Q4_1.gguf" and "…/SmolLM2.Q4_1/" are both SmolLM2.Q4_1.
std::string ModelNameOf(const std::string& path);
// Bytes from "1073741824", "512MiB", "2GiB" or a share of `available` bytes, "25%".
absl::StatusOr<int64_t> ParseMemory(absl::string_view text, int64_t available);
// Whether "HOST:PORT" can be reached from this machine only. InvalidArgument if it is not of that
// form.
absl::StatusOr<bool> IsLoopback(absl::string_view address);
// InvalidArgument if values contradict each other or leave their ranges.
absl::Status Validate(const ServerConfig& config);

}  // namespace transmla

#endif  // TRANSMLA_SERVER_CONFIG_H_
