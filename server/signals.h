// Signals: SIGTERM and SIGINT as calls on an ordinary thread, where anything may be done.
//
// Caught by a handler, not blocked: libraries start threads before main (OpenBLAS does), and a
// signal that one thread does not block ends the process.
#ifndef TRANSMLA_SERVER_SIGNALS_H_
#define TRANSMLA_SERVER_SIGNALS_H_

#include <atomic>
#include <functional>

#include "engine/base/thread.h"

namespace transmla {

// One at a time in a process; SIGPIPE is ignored from the first one on. After its end the signals
// are ignored.
class SignalThread {
 public:
  // `on_signal` gets the number of the signal and how many came before it.
  explicit SignalThread(std::function<void(int signal, int earlier)> on_signal);
  ~SignalThread();

 private:
  void Wait();

  const std::function<void(int, int)> on_signal_;
  std::atomic<bool> stop_{false};
  int pipe_[2];  // read end, write end
  Thread thread_;
};

}  // namespace transmla

#endif  // TRANSMLA_SERVER_SIGNALS_H_
