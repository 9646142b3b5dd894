#include "engine/backend/cpu/rows.h"

#include "engine/backend/cpu/for_each_row.h"
#include "engine/backend/cpu/panel_format.h"
#include "engine/backend/cpu/weight.h"

namespace transmla::cpu {

void Embedding(CpuContext& context, const RaggedBatch& batch, const EmbeddingArgs& args) {
  const CpuWeight& table = AsCpu(*args.table);
  const int64_t cols = table.shape()[1];
  ForEachRow(context, batch.tokens(), cols, [&](int64_t t) {
    float* out = args.out.as<float>() + t * cols;
    const int64_t id = batch.token_ids[t];
    if (table.panels() != nullptr) {
      DecodePanelRow(table.dtype(), table.panels(), cols, id, out);
    } else {
      context.kernels->dequantize(table.dtype(), table.data() + id * table.row_bytes(), cols, out);
    }
    if (args.scale == 1.0f) return;
    for (int64_t c = 0; c < cols; ++c) out[c] *= args.scale;
  });
}

void Norm(CpuContext& context, const NormArgs& args) {
  const int64_t cols = args.in.shape.cols();
  const int64_t n = args.weight->shape()[0];
  const float* weight = AsCpu(*args.weight).vector();
  const auto kernel = args.accumulate ? context.kernels->rms_norm_add : context.kernels->rms_norm;
  ForEachRow(context, args.in.shape.rows(), cols, [&](int64_t row) {
    kernel(args.in.as<float>() + row * cols, weight, args.eps, n,
           args.out.as<float>() + row * cols);
  });
}

void SoftCap(CpuContext& context, float cap, int64_t rows, int64_t cols, float* values) {
  ForEachRow(context, rows, cols,
             [&](int64_t row) { context.kernels->soft_cap(1.0f, cap, cols, values + row * cols); });
}

decltype(Kernels::silu_mul) GatedActivationKernel(const Kernels& kernels, Activation activation) {
  return activation == Activation::kSilu ? kernels.silu_mul : kernels.gelu_tanh_mul;
}

void GatedActivation(CpuContext& context, const GatedActivationArgs& args) {
  const int64_t cols = args.gate.shape.cols();
  const auto kernel = GatedActivationKernel(*context.kernels, args.activation);
  ForEachRow(context, args.gate.shape.rows(), cols, [&](int64_t row) {
    const int64_t at = row * cols;
    kernel(args.gate.as<float>() + at, args.up.as<float>() + at, cols, args.out.as<float>() + at);
  });
}

}  // namespace transmla::cpu
