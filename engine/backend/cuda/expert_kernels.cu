#include "engine/backend/cuda/expert_kernels.cuh"
#include "engine/backend/cuda/expert_kernels.h"

namespace transmla::cuda {

cudaError_t RouteTokens(cudaStream_t stream, const uint16_t* logits, int64_t tokens, int experts,
                        int top_k, bool normalize, int32_t* chosen, float* weights) {
  RouteKernel<<<Blocks(tokens), kThreads, 0, stream>>>(logits, tokens, experts, top_k, normalize,
                                                       chosen, weights);
  return cudaGetLastError();
}

cudaError_t Gather(cudaStream_t stream, const uint16_t* in, const int32_t* rows, int64_t cols,
                   int64_t size, uint16_t* out) {
  GatherKernel<<<Blocks(size), kThreads, 0, stream>>>(in, rows, cols, size, out);
  return cudaGetLastError();
}

cudaError_t Combine(cudaStream_t stream, const uint16_t* in, const int32_t* rows,
                    const float* weights, int terms, bool accumulate, int64_t cols, int64_t size,
                    uint16_t* out) {
  CombineKernel<<<Blocks(size), kThreads, 0, stream>>>(in, rows, weights, terms, accumulate, cols,
                                                       size, out);
  return cudaGetLastError();
}

}  // namespace transmla::cuda
