#include "engine/base/thread.h"

#include <utility>

#include <pthread.h>

namespace transmla {

Thread::Thread(std::string name, std::function<void()> body)
    : thread_([name = name.substr(0, 15), body = std::move(body)] {
        pthread_setname_np(pthread_self(), name.c_str());
        body();
      }) {}

}  // namespace transmla
