// Arena: zero-filled pages straight from the kernel, which takes memory only for what is touched.
// For cache stores and workspace, whose size is a limit rather than a use.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_ARENA_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_ARENA_H_

#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/status/statusor.h"

namespace transmla::cpu {

// Movable, not copyable; aligned to a memory page. Thread-compatible.
class Arena {
 public:
  Arena() = default;
  // With huge pages where the system has them to give, or without. ResourceExhausted if the address
  // space does not hold it. REQUIRES: bytes > 0.
  static absl::StatusOr<Arena> Create(int64_t bytes, bool huge_pages = true);
  ~Arena();
  Arena(Arena&& other) noexcept { *this = std::move(other); }
  Arena& operator=(Arena&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }

  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  int64_t size() const { return size_; }  // bytes

 private:
  std::byte* data_ = nullptr;
  int64_t size_ = 0;
};

}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_ARENA_H_
