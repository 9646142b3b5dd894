// AlignedBuffer owns bytes that start on a cache line, so that vector loads never straddle two.
#ifndef TRANSMLA_ENGINE_BASE_ALIGNED_BUFFER_H_
#define TRANSMLA_ENGINE_BASE_ALIGNED_BUFFER_H_

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>

#include "engine/base/checked_math.h"

namespace transmla {

// Movable, not copyable. Contents are not initialised. Thread-compatible.
class AlignedBuffer {
 public:
  static constexpr size_t kAlignment = 64;

  AlignedBuffer() = default;
  // Aborts with std::bad_alloc's message if the system has no memory left: sizes are checked
  // against limits before.
  explicit AlignedBuffer(size_t bytes) : size_(bytes) {
    if (bytes == 0) return;
    data_.reset(static_cast<std::byte*>(
        ::operator new (AlignUp(bytes, kAlignment), std::align_val_t{kAlignment})));
  }

  std::byte* data() { return data_.get(); }
  const std::byte* data() const { return data_.get(); }
  size_t size() const { return size_; }

  // The buffer as elements of a trivial type. The caller keeps to size() / sizeof(T) elements.
  template <typename T>
  T* as() {
    return reinterpret_cast<T*>(data_.get());
  }
  template <typename T>
  const T* as() const {
    return reinterpret_cast<const T*>(data_.get());
  }

 private:
  struct Deleter {
    void operator()(std::byte* p) const { ::operator delete (p, std::align_val_t{kAlignment}); }
  };
  std::unique_ptr<std::byte, Deleter> data_;
  size_t size_ = 0;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_BASE_ALIGNED_BUFFER_H_
