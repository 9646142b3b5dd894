#include "server/server.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>

#include "engine/base/file.h"
#include "engine/base/status.h"
#include "server/limits.h"
#include "server/logging.h"

namespace transmla {
namespace {

constexpr int64_t kMaxPemBytes = 1 << 20;

int Milliseconds(absl::Duration duration) {
  return static_cast<int>(absl::ToInt64Milliseconds(duration));
}

std::string WithPort(const std::string& address, int port) {
  return absl::StrCat(address.substr(0, address.rfind(':') + 1), port);
}

void SetLimits(const EngineOptions& engine, grpc::ServerBuilder* builder) {
  builder->SetMaxReceiveMessageSize(kMaxReceiveBytes);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, Milliseconds(kKeepaliveInterval));
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, Milliseconds(kKeepaliveTimeout));
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                              Milliseconds(kMinClientPingInterval));
  // A queued request sends no data for long, and its client is to be missed all the same.
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // Two servers at one port would each get half of the requests.
  builder->AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder->AddChannelArgument(
      GRPC_ARG_MAX_CONCURRENT_STREAMS,
      engine.max_running_requests + engine.max_queued_requests + kSpareStreamsPerConnection);
  grpc::ResourceQuota quota("transmla");
  quota.Resize(kRpcMemoryBytes);
  quota.SetMaxThreads(kMaxRpcThreads);
  builder->SetResourceQuota(quota);
}

ModelLoader::Options LoaderOptions(const ServerConfig& config, const ServerParts& parts) {
  ModelLoader::Options options;
  options.root = config.conversion_root;
  options.engine = config.engine;
  options.vllm_metrics = config.vllm_metrics;
  options.grace_period = config.grace_period;
  options.clock = parts.clock;
  options.make_engine = parts.make_engine;
  options.inspect = parts.inspect;
  options.read_memory = parts.read_memory;
  return options;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerConfig& config,
                                                      ServerParts parts) {
  std::unique_ptr<Server> server(new Server(config, std::move(parts)));
  RETURN_IF_ERROR(server->Listen());
  return server;
}

Server::Server(const ServerConfig& config, ServerParts parts)
    : config_(config),
      parts_(std::move(parts)),
      registry_(std::make_shared<ServedModel>(config.engine.model_name, config.vllm_metrics)),
      operations_(parts_.clock),
      loader_(LoaderOptions(config, parts_), &registry_, &operations_),
      conversions_(config.conversion_root, parts_.converter, parts_.clock, &operations_,
                   &registry_.first().metrics(), &loader_),
      generation_service_({config.stream_stall_timeout, parts_.clock, parts_.seed}, &registry_),
      model_service_(&registry_, &loader_, &conversions_),
      operations_service_(&operations_),
      health_(&registry_.first(), parts_.clock, [this] {
        failed_ = true;
        RequestShutdown();
      }) {}

Server::~Server() { End(absl::ZeroDuration(), absl::ZeroDuration()); }

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> Server::Credentials() const {
  if (config_.tls_cert.empty()) return grpc::InsecureServerCredentials();
  grpc::SslServerCredentialsOptions options;
  grpc::SslServerCredentialsOptions::PemKeyCertPair pair;
  FileSystem* const files = PosixFileSystem();
  ASSIGN_OR_RETURN(pair.cert_chain, files->Read(config_.tls_cert, kMaxPemBytes));
  ASSIGN_OR_RETURN(pair.private_key, files->Read(config_.tls_key, kMaxPemBytes));
  options.pem_key_cert_pairs.push_back(std::move(pair));
  if (!config_.tls_client_ca.empty()) {
    ASSIGN_OR_RETURN(options.pem_root_certs, files->Read(config_.tls_client_ca, kMaxPemBytes));
    options.client_certificate_request = GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY;
  }
  return grpc::SslServerCredentials(options);
}

absl::Status Server::Listen() {
  ASSIGN_OR_RETURN(const std::shared_ptr<grpc::ServerCredentials> credentials, Credentials());
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  SetLimits(config_.engine, &builder);
  builder.AddListeningPort(config_.listen, credentials, &port_);
  builder.RegisterService(&generation_service_);
  builder.RegisterService(&model_service_);
  builder.RegisterService(&operations_service_);
  grpc_ = builder.BuildAndStart();
  if (grpc_ == nullptr || port_ == 0) {
    return absl::UnavailableError(absl::StrCat(
        "cannot listen for gRPC at ", config_.listen,
        "; is the port in use, or a certificate unreadable? set --listen, --tls-cert, --tls-key"));
  }
  health_.Attach(grpc_.get());
  if (config_.metrics_listen.empty()) return absl::OkStatus();
  MetricsEndpointHandlers handlers;
  handlers.metrics = [this] { return MetricsText(); };
  handlers.alive = [this] { return health_.alive(); };
  handlers.ready = [this] { return health_.ready(); };
  ASSIGN_OR_RETURN(endpoint_, MetricsEndpoint::Start(config_.metrics_listen, std::move(handlers)));
  return absl::OkStatus();
}

absl::Status Server::Load() {
  ServedModel& first = registry_.first();
  ASSIGN_OR_RETURN(std::unique_ptr<Engine> engine,
                   parts_.make_engine(config_.engine, parts_.clock, &first.metrics()));
  first.SetEngine(std::move(engine));
  health_.SetLoaded();
  return absl::OkStatus();
}

void Server::RequestShutdown() {
  if (!shutdown_requested_.exchange(true)) shutdown_.Notify();
}

absl::Status Server::Wait() {
  shutdown_.WaitForNotification();
  if (!failed_) return absl::OkStatus();
  return absl::InternalError("the engine failed and cannot go on; the lines above say why");
}

void Server::Drain() { End(config_.drain_delay, config_.grace_period); }

void Server::End(absl::Duration delay, absl::Duration grace) {
  if (std::exchange(ended_, true) || grpc_ == nullptr) return;
  health_.SetDraining();
  // Whoever routes requests sees it and sends them elsewhere before any is refused.
  if (loaded() && !failed_) parts_.clock->Sleep(delay);
  registry_.StartDraining();
  operations_.Shutdown();
  for (const auto& model : registry_.All()) {
    if (model->engine() != nullptr) model->engine()->StartDraining();
  }
  if (!FinishStreams(grace)) {
    LogError("the grace period is over: streams that still run are ended");
  }
  const auto stop_engines = [this] {
    for (const auto& model : registry_.All()) {
      if (model->engine() != nullptr) model->engine()->Stop();
    }
  };
  stop_engines();
  conversions_.Shutdown();
  loader_.Shutdown();
  stop_engines();  // one may have been loaded meanwhile
  // Whatever is still open after this is cancelled: watchers of health, readers that do not read.
  grpc_->Shutdown(absl::ToChronoTime(SystemClock()->Now() + kLastMessages));
  grpc_->Wait();
  endpoint_.reset();
  health_.Stop();
}

bool Server::FinishStreams(absl::Duration timeout) {
  constexpr absl::Duration kPoll = absl::Milliseconds(20);
  const absl::Time end = parts_.clock->Now() + timeout;
  // Not only what the engine knows of: prompts that wait to be tokenised, and what it has finished
  // but slow readers have not read, count too.
  while (generation_service_.open_streams() > 0) {
    if (parts_.clock->Now() >= end) return false;
    parts_.clock->Sleep(kPoll);
  }
  return true;
}

std::string Server::address() const { return WithPort(config_.listen, port_); }

std::string Server::metrics_address() const {
  return endpoint_ == nullptr ? "none" : WithPort(config_.metrics_listen, endpoint_->port());
}

std::string Server::MetricsText() const {
  std::vector<prometheus::MetricFamily> families;
  for (const auto& model : registry_.All()) {
    if (families.empty()) {
      families = model->metrics().Collect(SnapshotOf(*model));
    } else {
      model->metrics().AddTo(SnapshotOf(*model), &families);
    }
  }
  return Metrics::ToText(families);
}

MetricsSnapshot Server::SnapshotOf(const ServedModel& model) const {
  MetricsSnapshot snapshot;
  if (const Engine* const engine = model.engine(); engine != nullptr) {
    snapshot.engine = engine->stats();
    snapshot.model = &engine->model();
  }
  snapshot.state = &model == &registry_.first() ? health_.state() : model.state();
  snapshot.backlog_bytes = generation_service_.backlog_bytes(model);
  snapshot.conversions_queued = conversions_.queued();
  snapshot.conversions_running = conversions_.running();
  snapshot.conversion_progress = conversions_.progress();
  return snapshot;
}

}  // namespace transmla
