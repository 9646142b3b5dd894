// Products with weight matrices through cuBLAS.
//
// BF16 weights are multiplied as they are, F32 ones with the activations widened to F32, F16 ones
// with both widened (BF16 has values that F16 lacks). Sums are F32; bias and residual are added to
// them before the one rounding to BF16. linear_plan.h says how the work is cut and why.
#ifndef TRANSMLA_ENGINE_BACKEND_CUDA_LINEAR_H_
#define TRANSMLA_ENGINE_BACKEND_CUDA_LINEAR_H_

#include <memory>

#include "absl/status/statusor.h"
#include <cublas_v2.h>
#include <cuda_runtime_api.h>

#include "engine/backend/cuda/device_buffer.h"
#include "engine/backend/cuda/weight.h"
#include "engine/backend/op_args.h"

namespace transmla::cuda {

// Owns cuBLAS and the workspace of products. Thread-compatible; the current device must be the one
// it was made on.
class LinearRunner {
 public:
  // Runs on `stream`, which must outlive it.
  static absl::StatusOr<std::unique_ptr<LinearRunner>> Create(cudaStream_t stream);
  ~LinearRunner();
  LinearRunner(const LinearRunner&) = delete;
  LinearRunner& operator=(const LinearRunner&) = delete;

  // Notes a matrix [rows, k] that Run will be given.
  void Expect(const CudaWeight& weight);
  // Sizes the workspace for the matrices noted so far; does nothing if it is large enough.
  absl::Status Reserve();
  // Returns before the device is done. REQUIRES: the weight was noted, arguments are checked.
  absl::Status Run(const LinearArgs& args);

 private:
  explicit LinearRunner(cudaStream_t stream) : stream_(stream) {}

  // sums_[t, first_row + i] = weight[i] · tile[t] for i < rows and all tokens of a tile.
  absl::Status Multiply(const void* weight, cudaDataType_t type, int64_t rows, int64_t k,
                        int64_t first_row, int64_t all_rows);
  // One tile of tokens: `used` of them real, from `in`.
  absl::Status MultiplyTile(const CudaWeight& weight, const uint16_t* in, int64_t used);

  cudaStream_t stream_;
  cublasHandle_t cublas_ = nullptr;
  DeviceBuffer cublas_workspace_;
  int64_t tile_bytes_ = 0;  // needed for the matrices noted
  int64_t sums_bytes_ = 0;
  int64_t widened_bytes_ = 0;
  DeviceBuffer tile_;     // [kTokenTile, k], BF16 or F32 as the weight asks
  DeviceBuffer sums_;     // [kTokenTile, rows] F32
  DeviceBuffer widened_;  // [WidenedRows, k] F32
};

}  // namespace transmla::cuda

#endif  // TRANSMLA_ENGINE_BACKEND_CUDA_LINEAR_H_
