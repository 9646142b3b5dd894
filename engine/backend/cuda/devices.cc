#include "engine/backend/cuda/devices.h"

#include "absl/strings/str_cat.h"

#include "engine/backend/cuda/create.h"
#include "engine/backend/cuda/status.h"
#include "engine/base/cpu_info.h"

namespace transmla {
namespace cuda {
namespace {

absl::StatusOr<int> CountDevices() {
  int count = 0;
  CUDA_RETURN_IF_ERROR(cudaGetDeviceCount(&count));
  return count;
}

}  // namespace

absl::StatusOr<DeviceInfo> QueryDevice(int device) {
  ASSIGN_OR_RETURN(const int count, CountDevices());
  if (device < 0 || device >= count) {
    return absl::NotFoundError(absl::StrCat("device cuda:", device, " does not exist; there are ",
                                            count, ", counted from cuda:0"));
  }
  cudaDeviceProp properties;
  CUDA_RETURN_IF_ERROR(cudaGetDeviceProperties(&properties, device));
  return DeviceInfo{.name = absl::StrCat(properties.name, ", compute capability ", properties.major,
                                         ".", properties.minor),
                    .memory_bytes = static_cast<int64_t>(properties.totalGlobalMem),
                    .host_threads = GetCpuInfo().usable_cores,
                    .activation_dtype = kActivationDType};
}

}  // namespace cuda

absl::StatusOr<std::vector<DeviceInfo>> ListCudaDevices() {
  ASSIGN_OR_RETURN(const int count, cuda::CountDevices());
  std::vector<DeviceInfo> devices;
  for (int device = 0; device < count; ++device) {
    ASSIGN_OR_RETURN(DeviceInfo info, cuda::QueryDevice(device));
    devices.push_back(std::move(info));
  }
  return devices;
}

}  // namespace transmla
