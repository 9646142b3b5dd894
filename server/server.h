// Server: the life of the process, from listening to the last stream.
//
//   Start   listens for gRPC and HTTP at once; health says NOT_SERVING
//   Load    loads the first model; health says SERVING
//   Wait    returns when somebody asked for the end, or the engine died
//   Drain   NOT_SERVING, then refuses requests, lets streams finish, ends
//
// Thread-compatible but for RequestShutdown, and for what the threads of gRPC and HTTP call.
#ifndef TRANSMLA_SERVER_SERVER_H_
#define TRANSMLA_SERVER_SERVER_H_

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include <grpcpp/grpcpp.h>

#include "engine/base/clock.h"
#include "engine/engine.h"
#include "engine/inspect.h"
#include "server/config.h"
#include "server/conversions.h"
#include "server/generation_service.h"
#include "server/health.h"
#include "server/metrics.h"
#include "server/metrics_endpoint.h"
#include "server/model_loader.h"
#include "server/model_registry.h"
#include "server/model_service.h"
#include "server/operations.h"
#include "server/process_stats.h"

namespace transmla {

// What a server is made of, so that tests can put others in their place.
struct ServerParts {
  std::function<absl::StatusOr<std::unique_ptr<Engine>>(const EngineOptions&, Clock*, StatsSink*)>
      make_engine;
  Converter converter;
  std::function<absl::StatusOr<ModelInspection>(const std::string&)> inspect = InspectModel;
  std::function<MemoryStats()> read_memory = ReadMemoryStats;
  Clock* clock = SystemClock();
  uint64_t seed = 0;  // of request ids and default sampling seeds
};

class Server {
 public:
  // Listens. Unavailable, naming the address, if it cannot.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ServerConfig& config,
                                                       ServerParts parts);
  // Ends at once, without delay and grace, if Drain was not called.
  ~Server();

  // Returns when the model serves, or why it cannot.
  absl::Status Load();
  // Makes Wait return. Thread-safe, idempotent.
  void RequestShutdown();
  // OK if somebody asked for the end; Internal if the engine died.
  absl::Status Wait();
  // Ends in order; idempotent. Takes at most drain_delay + grace_period + kLastMessages and a
  // little.
  void Drain();

  bool loaded() const { return registry_.first().engine() != nullptr; }
  int port() const { return port_; }
  int metrics_port() const { return endpoint_ == nullptr ? 0 : endpoint_->port(); }
  // HOST:PORT with the port that was chosen for port 0; "none" without metrics.
  std::string address() const;
  std::string metrics_address() const;

 private:
  Server(const ServerConfig& config, ServerParts parts);
  absl::Status Listen();
  absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> Credentials() const;
  // Of every model.
  std::string MetricsText() const;
  MetricsSnapshot SnapshotOf(const ServedModel& model) const;
  void End(absl::Duration delay, absl::Duration grace);
  // False if streams are still open after `timeout`.
  bool FinishStreams(absl::Duration timeout);

  const ServerConfig config_;
  const ServerParts parts_;
  ModelRegistry registry_;  // with its engines outlives the services below
  OperationStore operations_;
  ModelLoader loader_;
  Conversions conversions_;
  GenerationServiceImpl generation_service_;
  ModelServiceImpl model_service_;
  OperationsServiceImpl operations_service_;
  absl::Notification shutdown_;
  std::atomic<bool> shutdown_requested_{false};
  std::atomic<bool> failed_{false};
  bool ended_ = false;
  int port_ = 0;
  Health health_;
  std::unique_ptr<grpc::Server> grpc_;
  std::unique_ptr<MetricsEndpoint> endpoint_;
};

}  // namespace transmla

#endif  // TRANSMLA_SERVER_SERVER_H_
