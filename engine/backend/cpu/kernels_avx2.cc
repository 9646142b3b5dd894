#include "engine/backend/cpu/kernels.h"
#include "engine/backend/cpu/simd_types_inl.h"
#include "engine/backend/cpu/vec_avx2.h"

namespace transmla::cpu {

const Kernels kAvx2Kernels = SimdKernels("avx2");

}  // namespace transmla::cpu
