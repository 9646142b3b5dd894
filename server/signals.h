// Signals: SIGTERM and SIGINT as calls on an ordinary thread, where anything may be done.
#ifndef TRANSMLA_SERVER_SIGNALS_H_
#define TRANSMLA_SERVER_SIGNALS_H_

#include <atomic>
#include <functional>

#include "engine/base/thread.h"

namespace transmla {

// Keeps SIGTERM and SIGINT from ending the process, in this thread and in those it starts; SIGPIPE
// is ignored. Call before the first thread is started.
void BlockSignals();

class SignalThread {
 public:
  // `on_signal` gets the number of the signal and how many came before it.
  explicit SignalThread(std::function<void(int signal, int earlier)> on_signal);
  ~SignalThread();

 private:
  void Wait();

  const std::function<void(int, int)> on_signal_;
  std::atomic<bool> stop_{false};
  Thread thread_;
};

}  // namespace transmla

#endif  // TRANSMLA_SERVER_SIGNALS_H_
