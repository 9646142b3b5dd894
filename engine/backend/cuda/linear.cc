#include "engine/backend/cuda/linear.h"

#include <algorithm>

#include "engine/backend/cuda/linear_kernels.h"
#include "engine/backend/cuda/linear_plan.h"
#include "engine/backend/cuda/status.h"

namespace transmla::cuda {
namespace {

// What cuBLAS may use inside a product; its documentation recommends 32 MiB for sm_90 and above.
constexpr int64_t kCublasWorkspaceBytes = int64_t{32} << 20;

absl::Status Grow(int64_t bytes, DeviceBuffer* buffer) {
  if (bytes <= buffer->size()) return absl::OkStatus();
  ASSIGN_OR_RETURN(*buffer, DeviceBuffer::Create(bytes));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<LinearRunner>> LinearRunner::Create(cudaStream_t stream) {
  auto runner = std::unique_ptr<LinearRunner>(new LinearRunner(stream));
  CUDA_RETURN_IF_ERROR(cublasCreate(&runner->cublas_));
  CUDA_RETURN_IF_ERROR(cublasSetStream(runner->cublas_, stream));
  // Its own workspace would be allocated within a step, and partial sums might be kept in BF16.
  ASSIGN_OR_RETURN(runner->cublas_workspace_, DeviceBuffer::Create(kCublasWorkspaceBytes));
  CUDA_RETURN_IF_ERROR(
      cublasSetWorkspace(runner->cublas_, runner->cublas_workspace_.data(), kCublasWorkspaceBytes));
  CUDA_RETURN_IF_ERROR(
      cublasSetMathMode(runner->cublas_, CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION));
  return runner;
}

LinearRunner::~LinearRunner() {
  // Fails only for a handle that was never made or after an error that has been reported.
  if (cublas_ != nullptr) static_cast<void>(cublasDestroy(cublas_));
}

void LinearRunner::Expect(const CudaWeight& weight) {
  const int64_t rows = weight.shape()[0];
  const int64_t k = weight.shape()[1];
  // F32 whatever the type: one tile serves weights of all types.
  tile_bytes_ = std::max(tile_bytes_, kTokenTile * k * int64_t{sizeof(float)});
  sums_bytes_ = std::max(sums_bytes_, kTokenTile * rows * int64_t{sizeof(float)});
  if (weight.dtype() == DType::kF16) {
    widened_bytes_ = std::max(widened_bytes_, WidenedRows(rows, k) * k * int64_t{sizeof(float)});
  }
}

absl::Status LinearRunner::Reserve() {
  RETURN_IF_ERROR(Grow(tile_bytes_, &tile_));
  RETURN_IF_ERROR(Grow(sums_bytes_, &sums_));
  return Grow(widened_bytes_, &widened_);
}

absl::Status LinearRunner::Multiply(const void* weight, cudaDataType_t type, int64_t rows,
                                    int64_t k, int64_t first_row, int64_t all_rows) {
  const float one = 1.0f;
  const float zero = 0.0f;
  // cuBLAS counts columns first: our row-major [rows, k] is its [k, rows], hence the transposition,
  // and its result [rows, tokens] is our [tokens, rows].
  CUDA_RETURN_IF_ERROR(cublasGemmEx_64(cublas_, CUBLAS_OP_T, CUBLAS_OP_N, rows, kTokenTile, k, &one,
                                       weight, type, k, tile_.data(), type, k, &zero,
                                       sums_.as<float>() + first_row, CUDA_R_32F, all_rows,
                                       CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT));
  return absl::OkStatus();
}

absl::Status LinearRunner::MultiplyTile(const CudaWeight& weight, const uint16_t* in,
                                        int64_t used) {
  const int64_t rows = weight.shape()[0];
  const int64_t k = weight.shape()[1];
  if (weight.dtype() == DType::kBF16) {
    CUDA_RETURN_IF_ERROR(LoadTile(stream_, in, used * k, kTokenTile * k, tile_.as<uint16_t>()));
    return Multiply(weight.as<void>(), CUDA_R_16BF, rows, k, 0, rows);
  }
  CUDA_RETURN_IF_ERROR(LoadTile(stream_, in, used * k, kTokenTile * k, tile_.as<float>()));
  if (weight.dtype() == DType::kF32) {
    return Multiply(weight.as<void>(), CUDA_R_32F, rows, k, 0, rows);
  }
  const int64_t step = WidenedRows(rows, k);
  for (int64_t row = 0; row < rows; row += step) {
    const int64_t count = std::min(step, rows - row);
    CUDA_RETURN_IF_ERROR(
        Widen(stream_, weight.as<uint16_t>() + row * k, count * k, widened_.as<float>()));
    RETURN_IF_ERROR(Multiply(widened_.data(), CUDA_R_32F, count, k, row, rows));
  }
  return absl::OkStatus();
}

absl::Status LinearRunner::Run(const LinearArgs& args) {
  const CudaWeight& weight = AsCuda(*args.weight);
  const int64_t tokens = args.in.shape[0];
  const int64_t rows = weight.shape()[0];
  const int64_t k = weight.shape()[1];
  const float* bias = args.bias == nullptr ? nullptr : AsCuda(*args.bias).as<float>();
  for (int64_t t = 0; t < tokens; t += kTokenTile) {
    const int64_t used = std::min(kTokenTile, tokens - t);
    RETURN_IF_ERROR(MultiplyTile(weight, args.in.as<uint16_t>() + t * k, used));
    CUDA_RETURN_IF_ERROR(FinishSums(stream_, sums_.as<float>(), bias, args.accumulate, rows,
                                    used * rows, args.out.as<uint16_t>() + t * rows));
  }
  return absl::OkStatus();
}

}  // namespace transmla::cuda
