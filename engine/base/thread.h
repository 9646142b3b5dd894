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

// Adds `nice` (0 to 19, sched(7)) to the nice value of the calling thread, and of those that it
// starts from now on: they get less of a core that others want too, and all of one that nobody
// else wants. Cannot be taken back without privileges.
void LowerPriorityOfThisThread(int nice);

// The same for all threads of the process but the calling one: those that libraries started before
// main.
void LowerPriorityOfOtherThreads(int nice);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_BASE_THREAD_H_
