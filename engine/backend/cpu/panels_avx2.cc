// The vector type comes before the loops over it.
// clang-format off
#include "engine/backend/cpu/lanes_avx2.h"
#include "engine/backend/cpu/panel_dot_inl.h"
// clang-format on

namespace transmla::cpu {

const PanelKernels kAvx2PanelKernels = kPairKernels;

}  // namespace transmla::cpu
