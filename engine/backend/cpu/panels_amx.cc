// GCC 12 warns of its own intrinsics' deliberately undefined operands (GCC bug 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
// The vector type comes before the loops over it.
// clang-format off
#include "engine/backend/cpu/lanes_avx512vnni.h"
#include "engine/backend/cpu/panel_dot_amx_inl.h"
#include "engine/backend/cpu/tiles_amx.h"
// clang-format on
#pragma GCC diagnostic pop

namespace transmla::cpu {

const PanelKernels kAmxPanelKernels = {.tile_tokens = kTileTokens,
                                       .quantize_tile = QuantizeTile,
                                       .dot = WithPanelFormat<AmxDots<AmxTiles>>,
                                       .other_dot = WithPanelFormat<VnniDots<kTileTokens>>};

}  // namespace transmla::cpu
