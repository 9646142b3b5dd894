// MetricsEndpoint: HTTP beside gRPC, for Prometheus and for probes that speak no gRPC.
//
// GET /metrics, /healthz (200 while the process can do its work) and /readyz (200 while new
// requests are welcome), 503 otherwise; HEAD likewise. Anything else is 404 or 405.
#ifndef TRANSMLA_SERVER_METRICS_ENDPOINT_H_
#define TRANSMLA_SERVER_METRICS_ENDPOINT_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace transmla {

// Called on the endpoint's threads.
struct MetricsEndpointHandlers {
  std::function<std::string()> metrics;
  std::function<bool()> alive;
  std::function<bool()> ready;
};

class MetricsEndpoint {
 public:
  // Listens at "HOST:PORT" (port 0: any free one). Unavailable, naming the address, if it cannot.
  static absl::StatusOr<std::unique_ptr<MetricsEndpoint>> Start(const std::string& address,
                                                                MetricsEndpointHandlers handlers);
  virtual ~MetricsEndpoint() = default;
  virtual int port() const = 0;
};

}  // namespace transmla

#endif  // TRANSMLA_SERVER_METRICS_ENDPOINT_H_
