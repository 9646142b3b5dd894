// Device code around the products of Linear. Every thread works on its own elements only, so the
// same source runs under simt.h. Kernels are static: a test that links the backend must not get
// nvcc's launch stub in place of the plain function.
#ifndef TRANSMLA_ENGINE_BACKEND_CUDA_LINEAR_KERNELS_CUH_
#define TRANSMLA_ENGINE_BACKEND_CUDA_LINEAR_KERNELS_CUH_

#include "engine/backend/cuda/grid.cuh"
#include "engine/tensor/float_types.h"

namespace transmla::cuda {

__device__ inline void StoreBf16(uint16_t bits, uint16_t* out) { *out = bits; }
__device__ inline void StoreBf16(uint16_t bits, float* out) { *out = Bf16ToFloat(bits); }

// tile[i] = in[i] for i < used, 0 up to `size`. `in` is BF16, T is BF16's bits or float.
template <typename T>
static __global__ void LoadTileKernel(const uint16_t* __restrict__ in, int64_t used, int64_t size,
                                      T* __restrict__ tile) {
  for (int64_t i = FirstElement(); i < size; i += ElementStep()) {
    StoreBf16(i < used ? in[i] : uint16_t{0}, tile + i);
  }
}

// out[i] = in[i], from F16 to F32: exact.
static __global__ void WidenKernel(const uint16_t* __restrict__ in, int64_t size,
                                   float* __restrict__ out) {
  for (int64_t i = FirstElement(); i < size; i += ElementStep()) out[i] = F16ToFloat(in[i]);
}

// out[t, r] = sums[t, r] (+ bias[r] if bias) (+ out[t, r] if accumulate), added in this order in
// F32 and rounded to BF16 once. sums: [size / rows, rows] F32, out: the same in BF16.
static __global__ void FinishKernel(const float* __restrict__ sums, const float* __restrict__ bias,
                                    bool accumulate, int64_t rows, int64_t size,
                                    uint16_t* __restrict__ out) {
  for (int64_t i = FirstElement(); i < size; i += ElementStep()) {
    float value = sums[i];
    if (bias != nullptr) value += bias[i % rows];
    if (accumulate) value += Bf16ToFloat(out[i]);
    out[i] = FloatToBf16(value);
  }
}

}  // namespace transmla::cuda

#endif  // TRANSMLA_ENGINE_BACKEND_CUDA_LINEAR_KERNELS_CUH_
