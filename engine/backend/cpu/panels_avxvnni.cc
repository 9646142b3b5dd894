// GCC 12 warns of its own intrinsics' deliberately undefined operands (GCC bug 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
// The vector type comes before the loops over it.
// clang-format off
#include "engine/backend/cpu/lanes_avxvnni.h"
#include "engine/backend/cpu/vnni_pairs.h"
#include "engine/backend/cpu/panel_dot_vnni_inl.h"
// clang-format on
#pragma GCC diagnostic pop

namespace transmla::cpu {

const PanelKernels kAvxVnniPanelKernels = {.tile_tokens = kTileGroup,
                                           .quantize_tile = QuantizeTile,
                                           .dot = WithPanelFormat<VnniDots<kTileGroup>>};

}  // namespace transmla::cpu
