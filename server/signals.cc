#include "server/signals.h"

#include <ctime>
#include <utility>

#include <signal.h>

namespace transmla {
namespace {

sigset_t Handled() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  return set;
}

}  // namespace

void BlockSignals() {
  const sigset_t set = Handled();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signal(SIGPIPE, SIG_IGN);
}

SignalThread::SignalThread(std::function<void(int, int)> on_signal)
    : on_signal_(std::move(on_signal)), thread_("signals", [this] { Wait(); }) {}

SignalThread::~SignalThread() {
  stop_ = true;
  thread_.Join();
}

void SignalThread::Wait() {
  const sigset_t set = Handled();
  // How long the destructor may wait; signals themselves are seen at once.
  const timespec poll = {0, 100'000'000};
  int earlier = 0;
  while (!stop_) {
    const int signal = sigtimedwait(&set, nullptr, &poll);
    if (signal > 0) on_signal_(signal, earlier++);
  }
}

}  // namespace transmla
