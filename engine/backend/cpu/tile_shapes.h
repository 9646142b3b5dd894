// What LDTILECFG reads: the shapes of the eight tile registers of AMX (Intel SDM volume 1, chapter
// 18).
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_TILE_SHAPES_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_TILE_SHAPES_H_

#include <cstdint>

namespace transmla::cpu {
namespace {  // see kernels.h: nothing here may be shared with other translation units

constexpr int kAmxRows = 16;      // of a tile register, at most
constexpr int kAmxRowBytes = 64;  // of a row of it, at most
constexpr int kAmxTiles = 8;

struct alignas(64) TileShapes {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};

  constexpr void Set(int tile, int tile_rows, int bytes) {
    rows[tile] = static_cast<uint8_t>(tile_rows);
    row_bytes[tile] = static_cast<uint16_t>(bytes);
  }
};
static_assert(sizeof(TileShapes) == 64);

}  // namespace
}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_TILE_SHAPES_H_
