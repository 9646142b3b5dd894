#include "absl/status/status.h"

#include "engine/backend/cuda/create.h"

namespace transmla {
namespace {

absl::Status NotBuilt() {
  return absl::UnimplementedError(
      "this binary was built without CUDA; rebuild with -DTRANSMLA_CUDA=ON or use --device=cpu");
}

}  // namespace

absl::StatusOr<std::vector<DeviceInfo>> ListCudaDevices() { return NotBuilt(); }

absl::StatusOr<std::unique_ptr<Backend>> CreateCudaBackend(const CudaOptions&) {
  return NotBuilt();
}

}  // namespace transmla
