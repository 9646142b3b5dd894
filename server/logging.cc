#include "server/logging.h"

#include <atomic>
#include <memory>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "spdlog/async.h"
#include "spdlog/sinks/stdout_sinks.h"
#include "spdlog/spdlog.h"

#include "engine/base/error_reason.h"

namespace transmla {
namespace {

constexpr size_t kBufferedLines = 8192;
std::atomic<bool> json{false};

// Text as a JSON string; what is not UTF-8 is replaced.
std::string Quote(absl::string_view text) {
  return nlohmann::json(std::string(text))
      .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void Write(spdlog::level::level_enum level, absl::string_view message) {
  const std::shared_ptr<spdlog::logger> logger = spdlog::get("transmla");
  if (logger == nullptr) return;
  logger->log(level, "{}",
              json ? absl::StrCat("\"message\":", Quote(message)) : std::string(message));
}

}  // namespace

void StartLogging(LogFormat format) {
  json = format == LogFormat::kJson;
  spdlog::init_thread_pool(kBufferedLines, 1);
  auto logger = spdlog::create_async_nb<spdlog::sinks::stderr_sink_mt>("transmla");
  if (json) {
    logger->set_pattern(R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l",%v})",
                        spdlog::pattern_time_type::utc);
  } else {
    logger->set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %^%L%$ %v", spdlog::pattern_time_type::utc);
  }
  logger->flush_on(spdlog::level::info);
}

void StopLogging() { spdlog::shutdown(); }

void LogInfo(absl::string_view message) { Write(spdlog::level::info, message); }
void LogError(absl::string_view message) { Write(spdlog::level::err, message); }

void LogRequest(const RequestLogLine& line) {
  const std::shared_ptr<spdlog::logger> logger = spdlog::get("transmla");
  if (logger == nullptr) return;
  const std::string code = absl::StatusCodeToString(line.status.code());
  const double seconds = absl::ToDoubleSeconds(line.duration);
  if (json) {
    logger->info(R"("message":"request","method":"{}","request_id":{},"code":"{}","reason":"{}",)"
                 R"("prompt_tokens":{},"completion_tokens":{},"seconds":{:.6f})",
                 std::string(line.method), Quote(line.request_id), code, ErrorReason(line.status),
                 line.prompt_tokens, line.completion_tokens, seconds);
    return;
  }
  logger->info("{} {} {} {} prompt_tokens={} completion_tokens={} seconds={:.3f}",
               std::string(line.method), Quote(line.request_id), code,
               line.status.ok() ? "-" : ErrorReason(line.status), line.prompt_tokens,
               line.completion_tokens, seconds);
}

}  // namespace transmla
