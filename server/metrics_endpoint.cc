#include "server/metrics_endpoint.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include <civetweb.h>
#include <dlfcn.h>
#include <pthread.h>

// Debian's civetweb asks for stacks of 100 KiB, out of which the C library also takes the
// thread-local storage of all libraries; OpenBLAS alone has 60 KiB. What is left does not hold
// civetweb's own buffers, and any junk that it answers with an error page ended the process. It has
// no option for this, so its request is raised here, in front of the C library's.
extern "C" int pthread_attr_setstacksize(pthread_attr_t* attributes, size_t bytes) noexcept {
  constexpr size_t kLeastStackBytes = size_t{1} << 20;
  using Function = int (*)(pthread_attr_t*, size_t);
  static const auto next =
      reinterpret_cast<Function>(dlsym(RTLD_NEXT, "pthread_attr_setstacksize"));
  return next(attributes, std::max(bytes, kLeastStackBytes));
}

namespace transmla {
namespace {

struct Answer {
  int status = 200;
  const char* reason = "OK";
  const char* type = "text/plain";
  std::string body;
};

Answer Probe(const std::function<bool()>& good) {
  if (good()) return {.body = "ok\n"};
  return {.status = 503, .reason = "Service Unavailable", .body = "no\n"};
}

Answer AnswerTo(absl::string_view method, absl::string_view path,
                const MetricsEndpointHandlers& handlers) {
  if (method != "GET" && method != "HEAD") {
    return {.status = 405, .reason = "Method Not Allowed", .body = "GET and HEAD only\n"};
  }
  if (path == "/metrics") {
    return {.type = "text/plain; version=0.0.4; charset=utf-8", .body = handlers.metrics()};
  }
  if (path == "/healthz") return Probe(handlers.alive);
  if (path == "/readyz") return Probe(handlers.ready);
  return {.status = 404, .reason = "Not Found", .body = "/metrics, /healthz, /readyz\n"};
}

absl::string_view OrEmpty(const char* text) { return text == nullptr ? "" : text; }

// Civetweb sees every request first to us: what it would do by itself with an unknown path is to
// look for a file, and without a folder of files that ends the process.
int OnRequest(mg_connection* connection) {
  const mg_request_info* const request = mg_get_request_info(connection);
  const absl::string_view method = OrEmpty(request->request_method);
  const Answer answer = AnswerTo(method, OrEmpty(request->local_uri),
                                 *static_cast<MetricsEndpointHandlers*>(request->user_data));
  const std::string text =
      absl::StrCat("HTTP/1.1 ", answer.status, " ", answer.reason,
                   "\r\nContent-Type: ", answer.type, "\r\nContent-Length: ", answer.body.size(),
                   "\r\nConnection: close\r\n\r\n", method == "HEAD" ? "" : answer.body);
  // A peer that went away is no concern of ours.
  mg_write(connection, text.data(), text.size());
  return answer.status;
}

class CivetEndpoint : public MetricsEndpoint {
 public:
  explicit CivetEndpoint(MetricsEndpointHandlers handlers) : handlers_(std::move(handlers)) {
    mg_init_library(0);
  }
  ~CivetEndpoint() override {
    if (context_ != nullptr) mg_stop(context_);
    mg_exit_library();
  }

  absl::Status Listen(const std::string& address) {
    const char* const options[] = {
        "listening_ports", address.c_str(),         "num_threads", "4",    "request_timeout_ms",
        "10000",           "keep_alive_timeout_ms", "500",         nullptr};
    mg_callbacks callbacks = {};
    callbacks.begin_request = OnRequest;
    std::array<char, 256> text = {};
    unsigned code = 0;
    mg_init_data init = {&callbacks, &handlers_, const_cast<const char**>(options)};
    mg_error_data error = {&code, text.data(), text.size()};
    context_ = mg_start2(&init, &error);
    if (context_ == nullptr) {
      return absl::UnavailableError(absl::StrCat("cannot listen for HTTP at ", address, ": ",
                                                 text.data(),
                                                 "; is the port in use? set --metrics-listen"));
    }
    mg_server_port port = {};
    if (mg_get_server_ports(context_, 1, &port) == 1) port_ = port.port;
    return absl::OkStatus();
  }

  int port() const override { return port_; }

 private:
  MetricsEndpointHandlers handlers_;
  mg_context* context_ = nullptr;
  int port_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<MetricsEndpoint>> MetricsEndpoint::Start(
    const std::string& address, MetricsEndpointHandlers handlers) {
  auto endpoint = std::make_unique<CivetEndpoint>(std::move(handlers));
  if (absl::Status status = endpoint->Listen(address); !status.ok()) return status;
  return endpoint;
}

}  // namespace transmla
