#include "server/signals.h"

#include <array>
#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <poll.h>

#include "engine/base/check.h"

namespace transmla {
namespace {

constexpr std::array<int, 2> kHandled = {SIGTERM, SIGINT};

// Where the handler writes. A handler has no other way to its object.
std::atomic<int> write_end{-1};

// Runs on any thread, between any two instructions: only what signal-safety(7) allows.
void OnSignal(int signal) {
  const int saved = errno;
  const char number = static_cast<char>(signal);
  // A full pipe holds signals enough; that write may fail.
  [[maybe_unused]] const ssize_t written = write(write_end.load(), &number, 1);
  errno = saved;
}

void Handle(void (*handler)(int)) {
  struct sigaction action = {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  for (const int signal : kHandled) sigaction(signal, &action, nullptr);
}

}  // namespace

SignalThread::SignalThread(std::function<void(int, int)> on_signal)
    : on_signal_(std::move(on_signal)) {
  CHECK_EQ(pipe2(pipe_, O_CLOEXEC | O_NONBLOCK), 0);
  CHECK_EQ(write_end.exchange(pipe_[1]), -1);
  signal(SIGPIPE, SIG_IGN);
  Handle(OnSignal);
  thread_ = Thread("signals", [this] { Wait(); });
}

SignalThread::~SignalThread() {
  Handle(SIG_IGN);
  stop_ = true;
  thread_.Join();
  write_end = -1;
  close(pipe_[0]);
  close(pipe_[1]);
}

void SignalThread::Wait() {
  // How long the destructor may wait; signals themselves are seen at once.
  constexpr int kPollMs = 100;
  pollfd readable = {.fd = pipe_[0], .events = POLLIN, .revents = 0};
  int earlier = 0;
  while (!stop_) {
    if (poll(&readable, 1, kPollMs) <= 0) continue;
    char number = 0;
    while (read(pipe_[0], &number, 1) == 1) on_signal_(number, earlier++);
  }
}

}  // namespace transmla
