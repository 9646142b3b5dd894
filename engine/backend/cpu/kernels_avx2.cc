// The vector type comes before the loops over it.
// clang-format off
#include "engine/backend/cpu/kernels.h"
#include "engine/backend/cpu/vec_avx2.h"
#include "engine/backend/cpu/simd_types_inl.h"
// clang-format on

namespace transmla::cpu {

const Kernels kAvx2Kernels = kSimdKernels;

}  // namespace transmla::cpu
