// Activation tiles: rows of floats rounded to 8 bits, in the order in which panels meet them.
//
// Each 32 elements of a token's row are rounded to whole numbers q in [-127, 127] of a scale of
// their own, max|x| / 127. PanelKernels::tile_tokens make a tile, the last tile has what is left;
// in a tile of T tokens, each 32 columns take 48 T bytes:
//
//   int8 q[T][32], then for each eight tokens G = 8, or what is left:
//   float scale[G], float sum[G]: scale · Σ q, int32 minus_sum[G]: -Σ q,
//   int32 minus_first[G]: -Σ q over the first 16 of the 32
//
// Tiles follow one another, so the one of tokens from t on begins at t · 48 · k / 32.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_ACTIVATION_TILES_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_ACTIVATION_TILES_H_

#include <cstdint>

namespace transmla::cpu {

inline constexpr int kTileGroup = 8;             // tokens whose scales lie together
inline constexpr int kTileBlock = 32;            // columns
inline constexpr int kTileBlockTokenBytes = 48;  // of one token's 32 columns

// Bytes of one token's row of k elements. REQUIRES: k is a multiple of kTileBlock.
constexpr int64_t TileTokenBytes(int64_t k) { return k / kTileBlock * kTileBlockTokenBytes; }

}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_ACTIVATION_TILES_H_
