// Makes the CUDA backend and lists the devices it can run on. Builds without CUDA link
// unavailable.cc, which defines the same functions and says what to do.
//
// A CUDA build loads cuBLAS when the process starts, and the driver when one of these functions is
// first called: neither a driver nor a device is needed until then.
#ifndef TRANSMLA_ENGINE_BACKEND_CUDA_CREATE_H_
#define TRANSMLA_ENGINE_BACKEND_CUDA_CREATE_H_

#include <memory>
#include <vector>

#include "absl/status/statusor.h"

#include "engine/backend/backend.h"
#include "engine/backend/device.h"

namespace transmla {

struct CudaOptions {
  int device = 0;  // index as the driver counts
};

// One entry a device, in the driver's order: entry N is "cuda:N". Unimplemented in builds without
// CUDA; NotFound without a driver or a device, FailedPrecondition if the driver is too old.
absl::StatusOr<std::vector<DeviceInfo>> ListCudaDevices();

// Unimplemented in builds without CUDA; NotFound without such a device; FailedPrecondition if the
// driver is too old or this build has no kernels for the device. Operations that the backend does
// not have yet return Unimplemented when called (cuda_backend.h lists those it has).
absl::StatusOr<std::unique_ptr<Backend>> CreateCudaBackend(const CudaOptions& options);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_BACKEND_CUDA_CREATE_H_
