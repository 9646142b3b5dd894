// How kernels of one element a thread share elements out, and how many blocks they are launched in.
#ifndef TRANSMLA_ENGINE_BACKEND_CUDA_GRID_CUH_
#define TRANSMLA_ENGINE_BACKEND_CUDA_GRID_CUH_

#include "engine/backend/cuda/simt.h"

namespace transmla::cuda {

// Threads of a block.
inline constexpr int kThreads = 256;
// Enough blocks for every device; beyond, each thread takes several elements.
inline constexpr int64_t kMaxBlocks = 4096;

inline int Blocks(int64_t elements) {
  const int64_t blocks = (elements + kThreads - 1) / kThreads;
  return static_cast<int>(blocks < kMaxBlocks ? blocks : kMaxBlocks);
}

// This thread's first element and the step to its next one.
__device__ inline int64_t FirstElement() { return int64_t{blockIdx.x} * blockDim.x + threadIdx.x; }
__device__ inline int64_t ElementStep() { return int64_t{gridDim.x} * blockDim.x; }

}  // namespace transmla::cuda

#endif  // TRANSMLA_ENGINE_BACKEND_CUDA_GRID_CUH_
