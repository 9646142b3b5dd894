// DeviceBuffer: bytes in device memory.
#ifndef TRANSMLA_ENGINE_BACKEND_CUDA_DEVICE_BUFFER_H_
#define TRANSMLA_ENGINE_BACKEND_CUDA_DEVICE_BUFFER_H_

#include <cstdint>
#include <utility>

#include "absl/status/statusor.h"

namespace transmla::cuda {

// Movable, not copyable; aligned to 256 bytes, contents not initialised. Thread-compatible.
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  // On the current device. ResourceExhausted, naming what is free, if its memory does not hold it.
  // REQUIRES: bytes > 0.
  static absl::StatusOr<DeviceBuffer> Create(int64_t bytes);
  // Waits for the device first.
  ~DeviceBuffer();
  DeviceBuffer(DeviceBuffer&& other) noexcept { *this = std::move(other); }
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }

  void* data() const { return data_; }
  template <typename T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  int64_t size() const { return size_; }  // bytes

 private:
  void* data_ = nullptr;
  int64_t size_ = 0;
};

}  // namespace transmla::cuda

#endif  // TRANSMLA_ENGINE_BACKEND_CUDA_DEVICE_BUFFER_H_
