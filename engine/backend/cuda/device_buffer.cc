#include "engine/backend/cuda/device_buffer.h"

#include "absl/strings/str_cat.h"

#include "engine/backend/cuda/status.h"
#include "engine/base/check.h"

namespace transmla::cuda {

absl::StatusOr<DeviceBuffer> DeviceBuffer::Create(int64_t bytes) {
  CHECK_GT(bytes, 0);
  DeviceBuffer buffer;
  const absl::Status status =
      ToStatus(cudaMalloc(&buffer.data_, static_cast<size_t>(bytes)), "cudaMalloc");
  if (absl::IsResourceExhausted(status)) {
    size_t free_bytes = 0;
    size_t total_bytes = 0;
    CUDA_RETURN_IF_ERROR(cudaMemGetInfo(&free_bytes, &total_bytes));
    return absl::ResourceExhaustedError(absl::StrCat("cannot take ", bytes,
                                                     " bytes of device memory: ", free_bytes,
                                                     " of ", total_bytes, " are free"));
  }
  RETURN_IF_ERROR(status);
  buffer.size_ = bytes;
  return buffer;
}

DeviceBuffer::~DeviceBuffer() {
  // An error here was caused by earlier work and has been, or will be, reported by the next call.
  if (data_ != nullptr) static_cast<void>(cudaFree(data_));
}

}  // namespace transmla::cuda
