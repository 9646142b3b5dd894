// Operations that treat each token's row by itself: embedding, norm, soft cap, gated activation.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_ROWS_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_ROWS_H_

#include "engine/backend/cpu/context.h"
#include "engine/backend/cpu/kernels.h"
#include "engine/backend/op_args.h"
#include "engine/backend/ragged_batch.h"

namespace transmla::cpu {

void Embedding(CpuContext& context, const RaggedBatch& batch, const EmbeddingArgs& args);
void Norm(CpuContext& context, const NormArgs& args);
// cap · tanh(value / cap) of a [rows, cols] matrix, in place.
void SoftCap(CpuContext& context, float cap, int64_t rows, int64_t cols, float* values);
// Kernels::silu_mul or gelu_tanh_mul.
decltype(Kernels::silu_mul) GatedActivationKernel(const Kernels& kernels, Activation activation);
void GatedActivation(CpuContext& context, const GatedActivationArgs& args);

}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_ROWS_H_
