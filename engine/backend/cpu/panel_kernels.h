// PanelKernels: integer products of quantised weights kept in panels (panel_format.h) with
// activations rounded to 8 bits (activation_tiles.h), as a table of functions, one table an
// instruction set. What kernels.h says of its tables holds for these too.
//
// An element's sum runs over k block by block: an exact integer sum of 32 products (16 for the
// types whose scales change within a block), times the scales, added in float. Its roundings are
// the same for any number of tokens, any tiling and any number of threads.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_PANEL_KERNELS_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_PANEL_KERNELS_H_

#include <cstdint>

#include "engine/tensor/dtype.h"

namespace transmla::cpu {

// Up to so many tokens panels are multiplied as they are, without workspace; for more, unpacking
// them once is cheaper.
inline constexpr int kPackedTokens = 16;

// out[t, r] = Σ_k w[r, k] · x[t, k] (+ bias[r]) (+ out[t, r] if accumulate).
struct PanelDotArgs {
  DType dtype = DType::kQ8_0;
  const uint8_t* panels = nullptr;  // ceil(rows / 8)
  int64_t panel_bytes = 0;
  int rows = 0;
  const uint8_t* tiles = nullptr;  // rows of k elements for all tokens
  int tokens = 0;
  int64_t k = 0;
  const float* bias = nullptr;  // [rows], or none
  bool accumulate = false;
  float* out = nullptr;        // [tokens, rows]
  int64_t out_stride = 0;      // floats from token to token
  uint8_t* scratch = nullptr;  // PanelScratchBytes(rows, k), aligned to 64 bytes
};

// Room that panels of `rows` rows of k columns, unpacked two by two, may take.
constexpr int64_t PanelScratchBytes(int64_t rows, int64_t k) {
  return (rows + 15) / 16 * (k / 32) * 768;
}

using PanelDot = void (*)(const PanelDotArgs& args);

struct PanelKernels {
  // Of a full activation tile; a multiple of kTileGroup.
  int tile_tokens;

  // Writes one tile of `tokens` <= tile_tokens rows of k elements, `stride` floats apart; k a
  // multiple of 32. The same bytes in every table that has as many tokens a tile.
  void (*quantize_tile)(const float* x, int64_t stride, int tokens, int64_t k, uint8_t* tile);

  // Any number of tokens.
  PanelDot dot;

  // Where there is a second way to the same bits, and which is faster depends on a weight's type
  // and shape (kernel_choice.h); else null.
  PanelDot other_dot = nullptr;
};

extern const PanelKernels kGenericPanelKernels;     // SSE4.1
extern const PanelKernels kAvx2PanelKernels;        // AVX2, FMA, F16C
extern const PanelKernels kAvxVnniPanelKernels;     // those and AVX VNNI
extern const PanelKernels kAvx512VnniPanelKernels;  // AVX-512 F, BW, DQ, VL, VNNI
extern const PanelKernels kAmxPanelKernels;         // those and AMX INT8

}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_PANEL_KERNELS_H_
