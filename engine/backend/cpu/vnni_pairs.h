// Pairs of panels in two AVX registers, for panel_dot_vnni_inl.h. Included, after a VnniLanes of
// eight rows, by the translation unit of AVX's own VNNI and by that of its emulation.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_VNNI_PAIRS_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_VNNI_PAIRS_H_

#include "engine/backend/cpu/lanes_twice.h"

namespace transmla::cpu {
namespace {

using WideVnniLanes = TwiceLanes<VnniLanes>;

// Sums of four tokens and what they are added to fill the sixteen registers.
constexpr int kPairTokens = 4;
constexpr int kPairsAtOnce = 1;

// What up to kPackedTokens tokens meet at a time (panel_blocks_inl.h).
struct OnePanel;
using FewPanels = OnePanel;

}  // namespace
}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_VNNI_PAIRS_H_
