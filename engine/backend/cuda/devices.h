// Device query.
#ifndef TRANSMLA_ENGINE_BACKEND_CUDA_DEVICES_H_
#define TRANSMLA_ENGINE_BACKEND_CUDA_DEVICES_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "engine/backend/device.h"

namespace transmla::cuda {

// Activations are BF16: what the tensor cores of every device from sm_80 on multiply directly.
inline constexpr DType kActivationDType = DType::kBF16;

// Name with compute capability, and memory. NotFound if the driver has no device of that index.
absl::StatusOr<DeviceInfo> QueryDevice(int device);

}  // namespace transmla::cuda

#endif  // TRANSMLA_ENGINE_BACKEND_CUDA_DEVICES_H_
