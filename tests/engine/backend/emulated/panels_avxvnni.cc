#include "engine/backend/cpu/lanes_avx2.h"

namespace transmla::cpu {
namespace {

// As lanes_avxvnni.h has them.
struct VnniLanes : Lanes {
  // Of even and of odd bytes, each as 16 bits.
  static I AddProducts(I sum, I u8, I s8) {
    const I low_bytes = _mm256_set1_epi16(0x00FF);
    const I even = _mm256_madd_epi16(_mm256_and_si256(u8, low_bytes),
                                     _mm256_srai_epi16(_mm256_slli_epi16(s8, 8), 8));
    const I odd = _mm256_madd_epi16(_mm256_srli_epi16(u8, 8), _mm256_srai_epi16(s8, 8));
    return Add32(sum, Add32(even, odd));
  }
};

}  // namespace
}  // namespace transmla::cpu

// After the vector type that they are about.
// clang-format off
#include "engine/backend/cpu/vnni_pairs.h"
#include "engine/backend/cpu/panel_dot_vnni_inl.h"
// clang-format on
#include "tests/engine/backend/emulated/instruction_sets.h"

namespace transmla::cpu {

const PanelKernels kEmulatedAvxVnniPanelKernels = {.tile_tokens = kTileGroup,
                                                   .quantize_tile = QuantizeTile,
                                                   .dot = WithPanelFormat<VnniDots<kTileGroup>>};

}  // namespace transmla::cpu
