// Products with weight matrices, shared out over rows of the weight.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_LINEAR_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_LINEAR_H_

#include "absl/types/span.h"

#include "engine/backend/cpu/context.h"
#include "engine/backend/cpu/weight.h"
#include "engine/backend/op_args.h"

namespace transmla::cpu {

// out[t, r] = Σ_k weight[r, k] · in[t, k] (+ bias[r]) (+ out[t, r] if accumulate).
struct Product {
  const CpuWeight* weight = nullptr;  // [rows, k]; or [matrices, rows, k] for matrices > 1
  int64_t rows = 0;
  int64_t k = 0;
  int64_t matrices = 1;       // matrix m reads `in + m · in_step` and writes `out + m · out_step`
  const float* in = nullptr;  // [tokens, k]
  int64_t in_stride = 0;      // floats from token to token
  int64_t in_step = 0;        // floats from matrix to matrix
  int tokens = 0;
  const float* bias = nullptr;  // [rows], or none
  bool accumulate = false;
  float* out = nullptr;  // [tokens, rows]
  int64_t out_stride = 0;
  int64_t out_step = 0;
};

void RunProduct(CpuContext& context, const Product& product);

void Linear(CpuContext& context, const LinearArgs& args);
// At least one product.
void LinearGroup(CpuContext& context, absl::Span<const LinearArgs> group);
// False, with nothing done, for weights whose rows cannot be cut alike.
bool GatedLinear(CpuContext& context, const GatedLinearArgs& args);
void PerHeadLinear(CpuContext& context, const PerHeadLinearArgs& args);

}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_LINEAR_H_
