// What the terminal can do, and the interrupt key.
#ifndef TRANSMLA_CLIENT_CLI_TERMINAL_H_
#define TRANSMLA_CLIENT_CLI_TERMINAL_H_

#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace transmla {

// Writes text to standard output now. False if nobody reads any more.
bool PrintNow(absl::string_view text);

// From the first call on, SIGINT sets a flag instead of ending the process; a second SIGINT ends
// it.
void CatchInterrupt();
bool Interrupted();
// Forgets an interrupt that was dealt with.
void ClearInterrupt();

// One line of progress on standard error, drawn over itself on a terminal, a new line a tenth
// otherwise. Thread-compatible.
class ProgressLine {
 public:
  ProgressLine();
  ~ProgressLine() { Finish(); }
  // `ratio` of the whole, 0 to 1; infinite `left` is not shown.
  void Show(absl::string_view label, double ratio, absl::Duration left);
  // Ends the line.
  void Finish();

 private:
  const bool terminal_;
  std::string last_;
  int last_tenth_ = -1;
};

}  // namespace transmla

#endif  // TRANSMLA_CLIENT_CLI_TERMINAL_H_
