// Launchers of expert_kernels.cuh, which says what each computes. All pointers are device memory;
// each returns before the device is done, with the error of the launch alone.
#ifndef TRANSMLA_ENGINE_BACKEND_CUDA_EXPERT_KERNELS_H_
#define TRANSMLA_ENGINE_BACKEND_CUDA_EXPERT_KERNELS_H_

#include <cstdint>

#include <cuda_runtime_api.h>

namespace transmla::cuda {

cudaError_t RouteTokens(cudaStream_t stream, const uint16_t* logits, int64_t tokens, int experts,
                        int top_k, bool normalize, int32_t* chosen, float* weights);
cudaError_t Gather(cudaStream_t stream, const uint16_t* in, const int32_t* rows, int64_t cols,
                   int64_t size, uint16_t* out);
cudaError_t Combine(cudaStream_t stream, const uint16_t* in, const int32_t* rows,
                    const float* weights, int terms, bool accumulate, int64_t cols, int64_t size,
                    uint16_t* out);

}  // namespace transmla::cuda

#endif  // TRANSMLA_ENGINE_BACKEND_CUDA_EXPERT_KERNELS_H_
