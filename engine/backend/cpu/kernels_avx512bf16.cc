// GCC 12 warns of its own intrinsics' deliberately undefined operands (GCC bug 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
// The vector type comes before the loops over it.
// clang-format off
#include "engine/backend/cpu/kernels.h"
#include "engine/backend/cpu/vec_avx512.h"
#include "engine/backend/cpu/simd_types_inl.h"
#include "engine/backend/cpu/bf16_pairs_inl.h"
#include "engine/backend/cpu/attention_bf16_inl.h"
#include "engine/backend/cpu/attention_int8_inl.h"
#include "engine/backend/cpu/dot_bf16_inl.h"
// clang-format on
#pragma GCC diagnostic pop

namespace transmla::cpu {
namespace {

constexpr Kernels WithBf16Products(Kernels kernels) {
  kernels.dot_bf16 = DotBf16;
  return WithInt8Attention<ScoresBf16, WeightedSumBf16>(kernels);
}

}  // namespace

const Kernels kAvx512Bf16Kernels = WithBf16Products(kSimdKernels);

}  // namespace transmla::cpu
