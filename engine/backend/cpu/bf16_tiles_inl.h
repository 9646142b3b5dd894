// What products of BF16 in the tile registers of AMX have in common, for attention_amx_inl.h and
// dot_amx_inl.h. Included, after vec_avx512.h and bf16_pairs_inl.h, by the translation unit of AMX
// and by that of its test. All registers are whole, 16 rows of 64 bytes.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_BF16_TILES_INL_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_BF16_TILES_INL_H_

#include <cstdint>
#include <type_traits>

#include <immintrin.h>

#include "engine/backend/cpu/bf16_pairs_inl.h"
#include "engine/backend/cpu/kernels.h"
#include "engine/backend/cpu/tile_shapes.h"

namespace transmla::cpu {
namespace {

constexpr int kAmxTileBytes = kAmxRows * kAmxRowBytes;
static_assert(kAmxRows == kPackedRows && kPairElements == kPackedCols);

constexpr TileShapes WholeTiles() {
  TileShapes shapes;
  for (int i = 0; i < kAmxTiles; ++i) shapes.Set(i, kAmxRows, kAmxRowBytes);
  return shapes;
}

template <typename Tiles>
void BeginTiles() {
  static constexpr TileShapes kShapes = WholeTiles();
  Tiles::Shape(kShapes);
}

// fn(0), …, fn(kCount - 1), as constants.
template <int kCount, int kFrom = 0, typename Fn>
inline __attribute__((always_inline)) void ForEach(const Fn& fn) {
  if constexpr (kFrom < kCount) {
    fn(std::integral_constant<int, kFrom>{});
    ForEach<kCount, kFrom + 1>(fn);
  }
}

// Kernels::pack_rows: [groups of 16 rows][steps of 32 columns], a register each, which holds in row
// i pair i of the columns of all 16 rows, those that are missing as zeros.
void PackRows(const float* x, int64_t x_stride, int rows, int64_t cols, void* packed) {
  uint8_t* out = static_cast<uint8_t*>(packed);
  for (int row = 0; row < rows; row += kAmxRows) {
    for (int64_t col = 0; col < cols; col += kPairElements, out += kAmxTileBytes) {
      const __mmask32 mask = FirstOf32(cols - col);
      Vec::F pairs[kAmxRows];
#pragma GCC unroll 16
      for (int r = 0; r < kAmxRows; ++r) {
        pairs[r] = row + r < rows
                       ? _mm512_castsi512_ps(RoundPairs(x + (row + r) * x_stride + col, mask))
                       : Vec::Zero();
      }
      Vec::Transpose(pairs);
#pragma GCC unroll 16
      for (int i = 0; i < kAmxRows; ++i) {
        Vec::Store(reinterpret_cast<float*>(out + i * kAmxRowBytes), pairs[i]);
      }
    }
  }
}

}  // namespace
}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_BF16_TILES_INL_H_
