// Thread: the only place that starts threads, so that each has a name in a debugger and in /proc.
#ifndef TRANSMLA_ENGINE_BASE_THREAD_H_
#define TRANSMLA_ENGINE_BASE_THREAD_H_

#include <functional>
#include <string>
#include <thread>

namespace transmla {

// Starts at construction; the destructor joins. Movable.
class Thread {
 public:
  Thread() = default;
  // `name` is cut to the 15 bytes that Linux keeps.
  Thread(std::string name, std::function<void()> body);
  ~Thread() { Join(); }
  Thread(Thread&&) = default;
  Thread& operator=(Thread&& other) noexcept {
    Join();
    thread_ = std::move(other.thread_);
    return *this;
  }

  // Waits for the body to return. Idempotent.
  void Join() {
    if (thread_.joinable()) thread_.join();
  }

 private:
  std::thread thread_;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_BASE_THREAD_H_
