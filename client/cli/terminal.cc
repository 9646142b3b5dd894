#include "client/cli/terminal.h"

#include <csignal>
#include <cstdio>

#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace transmla {
namespace {

constexpr int kBarWidth = 24;

volatile std::sig_atomic_t interrupted = 0;

void OnInterrupt(int) {
  if (interrupted != 0) _exit(130);
  interrupted = 1;
}

}  // namespace

bool PrintNow(absl::string_view text) {
  return std::fwrite(text.data(), 1, text.size(), stdout) == text.size() &&
         std::fflush(stdout) == 0;
}

void CatchInterrupt() { std::signal(SIGINT, OnInterrupt); }
bool Interrupted() { return interrupted != 0; }
void ClearInterrupt() { interrupted = 0; }

ProgressLine::ProgressLine() : terminal_(isatty(STDERR_FILENO) != 0) {}

void ProgressLine::Show(absl::string_view label, double ratio, absl::Duration left) {
  const int filled = static_cast<int>(ratio * kBarWidth);
  std::string line = absl::StrFormat("[%s%s] %3.0f %%  %s", std::string(filled, '#'),
                                     std::string(kBarWidth - filled, '.'), ratio * 100, label);
  if (left < absl::Hours(1000)) {
    absl::StrAppend(&line, ", ", absl::FormatDuration(absl::Ceil(left, absl::Seconds(1))), " left");
  }
  if (line == last_) return;
  last_ = line;
  if (terminal_) {
    absl::FPrintF(stderr, "\r\x1b[K%s", line);
    std::fflush(stderr);
    return;
  }
  const int tenth = static_cast<int>(ratio * 10);
  if (tenth == last_tenth_) return;
  last_tenth_ = tenth;
  absl::FPrintF(stderr, "%s\n", line);
}

void ProgressLine::Finish() {
  if (terminal_ && !last_.empty()) absl::FPrintF(stderr, "\r\x1b[K");
  last_.clear();
}

}  // namespace transmla
