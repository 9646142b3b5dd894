#include "engine/backend/cuda/status.h"

#include <string>

#include "absl/strings/str_cat.h"

namespace transmla::cuda {
namespace {

absl::string_view FunctionOf(absl::string_view call) { return call.substr(0, call.find('(')); }

std::string VersionName(int version) {  // 13000 is 13.0
  return absl::StrCat(version / 1000, ".", version % 1000 / 10);
}

absl::Status DriverStatus(absl::string_view text) {
  int driver = 0;
  // Without a driver this succeeds and says 0.
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) {
    return absl::NotFoundError(
        absl::StrCat(text, "; no NVIDIA driver is installed here: install one for CUDA ",
                     VersionName(CUDART_VERSION), " or newer, or use --device=cpu"));
  }
  return absl::FailedPreconditionError(
      absl::StrCat(text, "; the driver is for CUDA ", VersionName(driver), ", this build needs ",
                   VersionName(CUDART_VERSION), ": update the driver or use --device=cpu"));
}

}  // namespace

absl::Status ToStatus(cudaError_t error, absl::string_view call) {
  if (error == cudaSuccess) return absl::OkStatus();
  // Reported here, so the launch after it must not find it again.
  static_cast<void>(cudaGetLastError());
  const std::string text = absl::StrCat(FunctionOf(call), ": ", cudaGetErrorName(error), ", ",
                                        cudaGetErrorString(error));
  switch (error) {
    case cudaErrorInsufficientDriver:
      return DriverStatus(text);
    case cudaErrorNoDevice:
      return absl::NotFoundError(
          absl::StrCat(text, "; check nvidia-smi and CUDA_VISIBLE_DEVICES, or use --device=cpu"));
    case cudaErrorMemoryAllocation:
      return absl::ResourceExhaustedError(text);
    case cudaErrorDevicesUnavailable:
    case cudaErrorSystemNotReady:
      return absl::UnavailableError(text);
    default:
      return absl::InternalError(text);
  }
}

absl::Status ToStatus(cublasStatus_t error, absl::string_view call) {
  if (error == CUBLAS_STATUS_SUCCESS) return absl::OkStatus();
  const std::string text = absl::StrCat(FunctionOf(call), ": ", cublasGetStatusName(error), ", ",
                                        cublasGetStatusString(error));
  return error == CUBLAS_STATUS_ALLOC_FAILED ? absl::ResourceExhaustedError(text)
                                             : absl::InternalError(text);
}

}  // namespace transmla::cuda
