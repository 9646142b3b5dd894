// How Linear cuts its work; plain C++ without CUDA's headers, tested on the CPU.
#ifndef TRANSMLA_ENGINE_BACKEND_CUDA_LINEAR_PLAN_H_
#define TRANSMLA_ENGINE_BACKEND_CUDA_LINEAR_PLAN_H_

#include <algorithm>
#include <cstdint>

namespace transmla::cuda {

// Tokens of one product. Every product has exactly that many, the last ones zero where the step has
// fewer: cuBLAS chooses its kernel, and with it the order of sums, by the size of the product,
// which must not depend on the batch (backend.h, batch invariance). 64 keeps a decode step bound by
// reading weights and still lets prompts reuse each weight 64 times.
inline constexpr int64_t kTokenTile = 64;

// F16 weights are widened to F32 a part at a time, in a buffer of about this size.
inline constexpr int64_t kWidenedBytes = int64_t{64} << 20;

// Rows of a [rows, k] weight that are widened at a time: as many as the buffer holds, at least one.
inline int64_t WidenedRows(int64_t rows, int64_t k) {
  const int64_t fit = kWidenedBytes / (k * int64_t{sizeof(float)});
  return std::clamp<int64_t>(fit, 1, rows);
}

}  // namespace transmla::cuda

#endif  // TRANSMLA_ENGINE_BACKEND_CUDA_LINEAR_PLAN_H_
