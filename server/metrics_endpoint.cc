#include "server/metrics_endpoint.h"

#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include <CivetServer.h>

namespace transmla {
namespace {

void Respond(mg_connection* connection, const char* status, absl::string_view type,
             absl::string_view body) {
  const std::string text =
      absl::StrCat("HTTP/1.1 ", status, "\r\nContent-Type: ", type,
                   "\r\nContent-Length: ", body.size(), "\r\nConnection: close\r\n\r\n", body);
  // A peer that went away is no concern of ours.
  (void)mg_write(connection, text.data(), text.size());
}

class MetricsHandler : public CivetHandler {
 public:
  explicit MetricsHandler(std::function<std::string()> text) : text_(std::move(text)) {}
  bool handleGet(CivetServer*, mg_connection* connection) override {
    Respond(connection, "200 OK", "text/plain; version=0.0.4; charset=utf-8", text_());
    return true;
  }

 private:
  const std::function<std::string()> text_;
};

class ProbeHandler : public CivetHandler {
 public:
  explicit ProbeHandler(std::function<bool()> good) : good_(std::move(good)) {}
  bool handleGet(CivetServer*, mg_connection* connection) override {
    const bool good = good_();
    Respond(connection, good ? "200 OK" : "503 Service Unavailable", "text/plain",
            good ? "ok\n" : "no\n");
    return true;
  }

 private:
  const std::function<bool()> good_;
};

class CivetEndpoint : public MetricsEndpoint {
 public:
  // Throws CivetException if it cannot listen.
  CivetEndpoint(const std::vector<std::string>& options, MetricsEndpointHandlers handlers)
      : metrics_(std::move(handlers.metrics)),
        alive_(std::move(handlers.alive)),
        ready_(std::move(handlers.ready)),
        server_(options) {
    // "$" ends the pattern: nothing below these paths.
    server_.addHandler("/metrics$", metrics_);
    server_.addHandler("/healthz$", alive_);
    server_.addHandler("/readyz$", ready_);
  }

  int port() const override { return port_; }
  void FindPort() {
    const std::vector<int> ports = server_.getListeningPorts();
    if (!ports.empty()) port_ = ports[0];
  }

 private:
  MetricsHandler metrics_;
  ProbeHandler alive_;
  ProbeHandler ready_;
  int port_ = 0;
  CivetServer server_;  // last: stops before its handlers go
};

}  // namespace

absl::StatusOr<std::unique_ptr<MetricsEndpoint>> MetricsEndpoint::Start(
    const std::string& address, MetricsEndpointHandlers handlers) {
  const std::vector<std::string> options = {
      "listening_ports",    address, "num_threads",           "4",
      "request_timeout_ms", "10000", "keep_alive_timeout_ms", "500"};
  try {
    auto endpoint = std::make_unique<CivetEndpoint>(options, std::move(handlers));
    endpoint->FindPort();
    return endpoint;
  } catch (const CivetException& exception) {
    return absl::UnavailableError(absl::StrCat("cannot listen for HTTP at ", address, ": ",
                                               exception.what(),
                                               "; is the port in use? set --metrics-listen"));
  }
}

}  // namespace transmla
