// Launchers of linear_kernels.cuh, which says what each computes. All pointers are device memory;
// each returns before the device is done, with the error of the launch alone.
#ifndef TRANSMLA_ENGINE_BACKEND_CUDA_LINEAR_KERNELS_H_
#define TRANSMLA_ENGINE_BACKEND_CUDA_LINEAR_KERNELS_H_

#include <cstdint>

#include <cuda_runtime_api.h>

namespace transmla::cuda {

cudaError_t LoadTile(cudaStream_t stream, const uint16_t* in, int64_t used, int64_t size,
                     uint16_t* tile);
cudaError_t LoadTile(cudaStream_t stream, const uint16_t* in, int64_t used, int64_t size,
                     float* tile);
cudaError_t Widen(cudaStream_t stream, const uint16_t* in, int64_t size, float* out);
cudaError_t FinishSums(cudaStream_t stream, const float* sums, const float* bias, bool accumulate,
                       int64_t rows, int64_t size, uint16_t* out);

// Whether this build has machine code for the current device: cudaErrorNoKernelImageForDevice if
// not.
cudaError_t FindKernels();

}  // namespace transmla::cuda

#endif  // TRANSMLA_ENGINE_BACKEND_CUDA_LINEAR_KERNELS_H_
