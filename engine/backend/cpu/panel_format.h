// Panels: how a quantised weight is kept for integer products (panel_kernels.h).
//
// Eight neighbouring rows make a panel, whose bytes lie side by side in the order in which a
// product reads them: block by block along k, 32 columns a block. In a block, code (r, 4 g + i) of
// row r, column 4 g + i, is byte j = 4 r + i of group g, 0 <= g < 8: one 32-byte vector holds four
// columns of all eight rows, its products with four broadcast activations are summed within 32-bit
// lanes, and a lane is a row.
//
//   codes    4 bits [4][32]: the low nibble of byte (g, j) belongs to group g, the high one to g +
//   4
//            fifth bit [32]: bit g of byte j belongs to group g (5-bit codes)
//            two upper bits [2][32]: bits 2 · (g mod 4) of byte (g / 4, j) (6-bit codes)
//            8 bits [8][32], two's complement
//   head     f16 scales [8], then f16 offsets [8] of an affine format; before each block, or,
//   nested
//            (the Q*_K types), before each eight blocks
//   scales   nested only, before each block: [parts][8] factors of the head's scale (unsigned if
//            affine, else signed), then [8] unsigned factors of the head's offset if affine
//
// A value is scale · (code - centre), or scale · code + offset (nested: - offset) if affine.
// Nothing is rounded: DecodePanelRow returns what DequantizeRow returns of the checkpoint's bytes.
// Sizes are the checkpoint's but for Q4_K and Q5_K, whose 6-bit scales take a byte each (+ 2.8
// and 2.3 %). Rows that a matrix lacks to a whole panel are zeros.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_PANEL_FORMAT_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_PANEL_FORMAT_H_

#include <cstdint>

#include "engine/tensor/dtype.h"
#include "engine/tensor/tensor_view.h"

namespace transmla::cpu {

inline constexpr int kPanelRows = 8;
inline constexpr int kPanelBlock = 32;  // columns
inline constexpr int kPanelGroups = 8;  // of four columns in a block

struct PanelFormat {
  int code_bits;  // 4, 5, 6 or 8
  int centre;     // a power of two, or 0
  bool affine;
  bool nested;
  int parts;  // of a block, with a scale each: 1 or 2

  constexpr int head_blocks() const { return nested ? 8 : 1; }
  constexpr int head_bytes() const { return (affine ? 4 : 2) * kPanelRows; }
  constexpr int scale_bytes() const { return nested ? (parts + (affine ? 1 : 0)) * kPanelRows : 0; }
  constexpr int code_bytes() const { return code_bits * kPanelBlock * kPanelRows / 8; }
  // Of a head and its blocks.
  constexpr int bytes() const {
    return head_bytes() + head_blocks() * (scale_bytes() + code_bytes());
  }
};

inline constexpr PanelFormat kPanelQ4_0 = {4, 8, false, false, 1};
inline constexpr PanelFormat kPanelQ4_1 = {4, 0, true, false, 1};
inline constexpr PanelFormat kPanelQ5_0 = {5, 16, false, false, 1};
inline constexpr PanelFormat kPanelQ5_1 = {5, 0, true, false, 1};
inline constexpr PanelFormat kPanelQ8_0 = {8, 0, false, false, 1};
inline constexpr PanelFormat kPanelQ4_K = {4, 0, true, true, 1};
inline constexpr PanelFormat kPanelQ5_K = {5, 0, true, true, 1};
inline constexpr PanelFormat kPanelQ6_K = {6, 32, false, true, 2};

// Null for types that are not kept in panels.
const PanelFormat* PanelFormatOf(DType dtype);

// Of a panel of rows of k columns. REQUIRES: PanelFormatOf(dtype), k a multiple of dtype's block.
int64_t PanelBytes(DType dtype, int64_t k);

// Writes panels [begin, end) of the ceil(rows / 8) of a [rows, cols] matrix, PanelBytes each, to
// their places behind `panels`. REQUIRES: PanelFormatOf(source.dtype).
void PackPanels(const TensorView& source, int64_t begin, int64_t end, uint8_t* panels);

// Decodes row `row` of a matrix of `k` columns. REQUIRES: it was written by PackPanels.
void DecodePanelRow(DType dtype, const uint8_t* panels, int64_t k, int64_t row, float* out);

}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_PANEL_FORMAT_H_
