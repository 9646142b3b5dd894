// GCC 12 warns of its own intrinsics' deliberately undefined operands (GCC bug 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
// The vector type comes before the loops over it.
// clang-format off
#include "engine/backend/cpu/kernels.h"
#include "engine/backend/cpu/vec_avx512.h"
#include "engine/backend/cpu/simd_types_inl.h"
#include "engine/backend/cpu/attention_int8_inl.h"
// clang-format on
#pragma GCC diagnostic pop

namespace transmla::cpu {

const Kernels kAvx512VnniKernels = WithInt8Attention<Scores, WeightedSum>(kSimdKernels);

}  // namespace transmla::cpu
