// Logging: structured lines on standard error, written by a thread of their own.
//
// Never a prompt, a completion or a credential. A full buffer drops its oldest lines rather than
// hold up a request.
#ifndef TRANSMLA_SERVER_LOGGING_H_
#define TRANSMLA_SERVER_LOGGING_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace transmla {

enum class LogFormat { kText, kJson };

// Once, before the first line; without it nothing is logged.
void StartLogging(LogFormat format);
// Writes what is buffered and ends the logging thread. Idempotent.
void StopLogging();

void LogInfo(absl::string_view message);
void LogError(absl::string_view message);

// What is known about a request when it ends.
struct RequestLogLine {
  absl::string_view method;
  absl::string_view request_id;
  absl::Status status;
  int64_t prompt_tokens = 0;
  int64_t completion_tokens = 0;
  absl::Duration duration;
};
void LogRequest(const RequestLogLine& line);

}  // namespace transmla

#endif  // TRANSMLA_SERVER_LOGGING_H_
