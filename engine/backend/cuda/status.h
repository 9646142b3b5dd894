// What CUDA and cuBLAS return, as absl::Status with the call and the library's own text.
#ifndef TRANSMLA_ENGINE_BACKEND_CUDA_STATUS_H_
#define TRANSMLA_ENGINE_BACKEND_CUDA_STATUS_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include <cublas_v2.h>
#include <cuda_runtime_api.h>

#include "engine/base/status.h"

namespace transmla::cuda {

// `call` is source text; its arguments are left out of the message. OK for success. NotFound
// without a driver or a device, FailedPrecondition for a driver that is too old, ResourceExhausted
// for want of device memory, Unavailable for a device that others hold, Internal for the rest,
// which includes kernels that failed earlier.
absl::Status ToStatus(cudaError_t error, absl::string_view call);
absl::Status ToStatus(cublasStatus_t error, absl::string_view call);

}  // namespace transmla::cuda

// Returns from the enclosing function if a call of CUDA or cuBLAS fails.
#define CUDA_RETURN_IF_ERROR(call) RETURN_IF_ERROR(::transmla::cuda::ToStatus((call), #call))

#endif  // TRANSMLA_ENGINE_BACKEND_CUDA_STATUS_H_
