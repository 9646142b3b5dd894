// Device code of Route, GatherRows and CombineRows. As in linear_kernels.cuh, threads exchange
// nothing, and kernels are static.
#ifndef TRANSMLA_ENGINE_BACKEND_CUDA_EXPERT_KERNELS_CUH_
#define TRANSMLA_ENGINE_BACKEND_CUDA_EXPERT_KERNELS_CUH_

#include <cmath>

#include "engine/backend/choose_experts.h"
#include "engine/backend/cuda/grid.cuh"

namespace transmla::cuda {

// A thread a token: logits are few, and the products around this take far longer. logits: [tokens,
// experts] BF16; chosen, weights: [tokens, top_k].
static __global__ void RouteKernel(const uint16_t* __restrict__ logits, int64_t tokens, int experts,
                                   int top_k, bool normalize, int32_t* __restrict__ chosen,
                                   float* __restrict__ weights) {
  for (int64_t t = FirstElement(); t < tokens; t += ElementStep()) {
    const uint16_t* row = logits + t * experts;
    int32_t* mine = chosen + t * top_k;
    float* weight = weights + t * top_k;
    ChooseExperts(row, experts, top_k, mine);
    const float greatest = Bf16ToFloat(row[mine[0]]);
    float sum = 0;
    for (int j = 0; j < top_k; ++j) {
      weight[j] = expf(Bf16ToFloat(row[mine[j]]) - greatest);
      sum += weight[j];
    }
    if (!normalize) {
      sum = 0;
      for (int e = 0; e < experts; ++e) sum += expf(Bf16ToFloat(row[e]) - greatest);
    }
    for (int j = 0; j < top_k; ++j) weight[j] /= sum;
  }
}

// out[i, c] = in[rows[i], c]. out: [size / cols, cols] BF16.
static __global__ void GatherKernel(const uint16_t* __restrict__ in,
                                    const int32_t* __restrict__ rows, int64_t cols, int64_t size,
                                    uint16_t* __restrict__ out) {
  for (int64_t i = FirstElement(); i < size; i += ElementStep()) {
    out[i] = in[rows[i / cols] * cols + i % cols];
  }
}

// out[t, c] = Σ_j weights[t, j] · in[rows[t, j], c] (after out[t, c] if accumulate), added in this
// order in F32 and rounded to BF16 once. rows, weights: [size / cols, terms].
static __global__ void CombineKernel(const uint16_t* __restrict__ in,
                                     const int32_t* __restrict__ rows,
                                     const float* __restrict__ weights, int terms, bool accumulate,
                                     int64_t cols, int64_t size, uint16_t* __restrict__ out) {
  for (int64_t i = FirstElement(); i < size; i += ElementStep()) {
    const int64_t first = i / cols * terms;
    float sum = accumulate ? Bf16ToFloat(out[i]) : 0.0f;
    for (int64_t j = first; j < first + terms; ++j) {
      sum += weights[j] * Bf16ToFloat(in[rows[j] * cols + i % cols]);
    }
    out[i] = FloatToBf16(sum);
  }
}

}  // namespace transmla::cuda

#endif  // TRANSMLA_ENGINE_BACKEND_CUDA_EXPERT_KERNELS_CUH_
