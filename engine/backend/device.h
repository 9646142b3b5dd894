// Names of devices ("cpu", "cuda:0") and what they report of themselves.
#ifndef TRANSMLA_ENGINE_BACKEND_DEVICE_H_
#define TRANSMLA_ENGINE_BACKEND_DEVICE_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "engine/tensor/dtype.h"

namespace transmla {

struct DeviceSpec {
  enum class Kind { kCpu, kCuda };
  Kind kind = Kind::kCpu;
  int index = 0;  // of the CUDA device
};

// "cpu", "cuda" (the first) or "cuda:N". InvalidArgument names the text and what is allowed.
absl::StatusOr<DeviceSpec> ParseDeviceSpec(absl::string_view text);

struct DeviceInfo {
  std::string
      name;  // "Intel(R) Xeon(R) …, 2 threads, avx512" or the GPU's name and compute capability
  int64_t memory_bytes = 0;  // total
  int host_threads = 1;      // of the CPU, for work between the operations: the user's limit
  DType activation_dtype = DType::kF32;  // of every activation tensor of this backend
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_BACKEND_DEVICE_H_
