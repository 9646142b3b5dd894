// The vector type comes before the loops over it.
// clang-format off
#include "engine/backend/cpu/kernels.h"
#include "engine/backend/cpu/vec_generic.h"
#include "engine/backend/cpu/kernels_inl.h"
#include "engine/backend/cpu/attention_kernels_inl.h"
// clang-format on
#include "engine/tensor/block_formats.h"

namespace transmla::cpu {
namespace {

// Without byte-wise decoding in registers: rows are decoded to memory first.
bool DotFused(DType dtype, const DotArgs& args) {
  if (dtype != DType::kF32) return false;
  Dot<DecodeF32>(args);
  return true;
}

}  // namespace

void DequantizeScalar(DType dtype, const void* row, int64_t n, float* out) {
  DequantizeRow(dtype, row, absl::MakeSpan(out, n));
}

const Kernels kGenericKernels = {
    .dequantize = DequantizeScalar,
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

}  // namespace transmla::cpu
