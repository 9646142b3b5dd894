// Makes the CUDA backend, or says why not: unavailable.cc is linked in builds without CUDA.
#ifndef TRANSMLA_ENGINE_BACKEND_CUDA_CREATE_H_
#define TRANSMLA_ENGINE_BACKEND_CUDA_CREATE_H_

#include <memory>

#include "absl/status/statusor.h"

#include "engine/backend/backend.h"

namespace transmla {

struct CudaOptions {
  int device = 0;  // index as the driver counts
};

// Unimplemented in builds without CUDA and while the CUDA backend lacks operations; NotFound
// without such a device.
absl::StatusOr<std::unique_ptr<Backend>> CreateCudaBackend(const CudaOptions& options);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_BACKEND_CUDA_CREATE_H_
