// The table of AMX's kernels, over Tiles, which is AmxTiles or its emulation. Included last.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_KERNELS_AMX_INL_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_KERNELS_AMX_INL_H_

#include "engine/backend/cpu/attention_amx_inl.h"
#include "engine/backend/cpu/attention_int8_inl.h"
#include "engine/backend/cpu/bf16_tiles_inl.h"
#include "engine/backend/cpu/dot_amx_inl.h"
#include "engine/backend/cpu/dot_bf16_inl.h"
#include "engine/backend/cpu/kernels.h"

namespace transmla::cpu {
namespace {

template <typename Tiles>
constexpr Kernels WithTiles(Kernels kernels) {
  kernels.dot_bf16 = DotBf16;
  kernels.pack_rows = PackRows;
  kernels.dot_packed = DotInTiles<Tiles>;
  kernels.begin_attention = BeginTiles<Tiles>;
  kernels.end_attention = Tiles::Release;
  return WithInt8Attention<ScoresInTiles<Tiles>, WeightedSumInTiles<Tiles>>(kernels);
}

}  // namespace
}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_KERNELS_AMX_INL_H_
