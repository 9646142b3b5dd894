// clang-format off: the vector type comes before the loops over it.
#include "engine/backend/cpu/kernels.h"
#include "engine/backend/cpu/simd_types_inl.h"
#include "engine/backend/cpu/vec_avx2.h"
// clang-format on

namespace transmla::cpu {

const Kernels kAvx2Kernels = SimdKernels("avx2");

}  // namespace transmla::cpu
