#include "engine/backend/cuda/linear_kernels.cuh"
#include "engine/backend/cuda/linear_kernels.h"

namespace transmla::cuda {
cudaError_t LoadTile(cudaStream_t stream, const uint16_t* in, int64_t used, int64_t size,
                     uint16_t* tile) {
  LoadTileKernel<<<Blocks(size), kThreads, 0, stream>>>(in, used, size, tile);
  return cudaGetLastError();
}

cudaError_t LoadTile(cudaStream_t stream, const uint16_t* in, int64_t used, int64_t size,
                     float* tile) {
  LoadTileKernel<<<Blocks(size), kThreads, 0, stream>>>(in, used, size, tile);
  return cudaGetLastError();
}

cudaError_t Widen(cudaStream_t stream, const uint16_t* in, int64_t size, float* out) {
  WidenKernel<<<Blocks(size), kThreads, 0, stream>>>(in, size, out);
  return cudaGetLastError();
}

cudaError_t FinishSums(cudaStream_t stream, const float* sums, const float* bias, bool accumulate,
                       int64_t rows, int64_t size, uint16_t* out) {
  FinishKernel<<<Blocks(size), kThreads, 0, stream>>>(sums, bias, accumulate, rows, size, out);
  return cudaGetLastError();
}

cudaError_t FindKernels() {
  cudaFuncAttributes attributes;
  return cudaFuncGetAttributes(&attributes, FinishKernel);
}

}  // namespace transmla::cuda
