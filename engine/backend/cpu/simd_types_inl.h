// Chooses the decoder of block_decode_inl.h for a type. Included, after a Vec and kernels_inl.h, by
// the translation unit of one instruction set.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_SIMD_TYPES_INL_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_SIMD_TYPES_INL_H_

#include <cstdint>

#include "engine/backend/cpu/attention_kernels_inl.h"
#include "engine/backend/cpu/block_decode_inl.h"
#include "engine/backend/cpu/kernels.h"
#include "engine/backend/cpu/kernels_inl.h"

namespace transmla::cpu {
namespace {

// Calls fn(D{}) with the decoder of `dtype`; false if there is none.
template <typename Fn>
inline bool WithDecoder(DType dtype, Fn&& fn) {
  switch (dtype) {
    case DType::kF32:
      fn(DecodeF32{});
      return true;
    case DType::kF16:
      fn(DecodeF16{});
      return true;
    case DType::kBF16:
      fn(DecodeBf16{});
      return true;
    case DType::kQ4_0:
      fn(DecodeQ4_0{});
      return true;
    case DType::kQ4_1:
      fn(DecodeQ4_1{});
      return true;
    case DType::kQ5_0:
      fn(DecodeQ5_0{});
      return true;
    case DType::kQ5_1:
      fn(DecodeQ5_1{});
      return true;
    case DType::kQ8_0:
      fn(DecodeQ8_0{});
      return true;
    case DType::kQ4_K:
      fn(DecodeQ4_K{});
      return true;
    case DType::kQ5_K:
      fn(DecodeQ5_K{});
      return true;
    case DType::kQ6_K:
      fn(DecodeQ6_K{});
      return true;
    default:
      return false;  // Q2_K, Q3_K: rare enough to go through rows
  }
}

bool DotFused(DType dtype, const DotArgs& args) {
  return WithDecoder(dtype, [&](auto decoder) { Dot<decltype(decoder)>(args); });
}

void Dequantize(DType dtype, const void* row, int64_t n, float* out) {
  if (!WithDecoder(dtype, [&](auto decoder) { DecodeRow<decltype(decoder)>(row, n, out); })) {
    DequantizeScalar(dtype, row, n, out);
  }
}

constexpr Kernels kSimdKernels = {
    .dequantize = Dequantize,
    .dot_f32 = Dot<DecodeF32>,
    .dot_fused = DotFused,
    .rms_norm = RmsNorm,
    .rms_norm_add = RmsNormAdd,
    .silu_mul = SiluMul,
    .gelu_tanh_mul = GeluTanhMul,
    .soft_cap = SoftCap,
    .exp = ExpRow,
    .decode_tile = DecodeTile,
    .scores = Scores,
    .softmax_tile = SoftmaxTile,
    .add_scaled = AddScaled,
    .weighted_sum = WeightedSum,
};

}  // namespace
}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_SIMD_TYPES_INL_H_
