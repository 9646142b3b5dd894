// EmulatedTiles: AmxTiles (tiles_amx.h) in plain C++, after the pseudocode of Intel's SDM, volume
// 2. Aborts where the processor would fault: an access to a register without a shape, or a product
// of registers whose shapes do not fit.
#ifndef TRANSMLA_TESTS_ENGINE_BACKEND_EMULATED_TILES_EMULATED_H_
#define TRANSMLA_TESTS_ENGINE_BACKEND_EMULATED_TILES_EMULATED_H_

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "engine/backend/cpu/tile_shapes.h"

namespace transmla::cpu {
namespace {

struct EmulatedTile {
  int rows = 0;
  int row_bytes = 0;
  uint8_t bytes[kAmxRows][kAmxRowBytes] = {};

  template <typename T>
  T At(int row, int i) const {
    T value;
    std::memcpy(&value, bytes[row] + i * sizeof(T), sizeof(T));
    return value;
  }
  template <typename T>
  void Set(int row, int i, T value) {
    std::memcpy(bytes[row] + i * sizeof(T), &value, sizeof(T));
  }
};

struct EmulatedTiles {
  static EmulatedTile& At(int i) {
    static thread_local EmulatedTile tiles[kAmxTiles];
    return tiles[i];
  }
  static EmulatedTile& Shaped(int i) {
    EmulatedTile& tile = At(i);
    if (tile.rows == 0) std::abort();
    return tile;
  }

  static void Shape(const TileShapes& shapes) {
    if (shapes.palette != 1 || shapes.start_row != 0) std::abort();
    for (int i = 0; i < kAmxTiles; ++i) {
      At(i) = {.rows = shapes.rows[i], .row_bytes = shapes.row_bytes[i]};
      if (At(i).rows > kAmxRows || At(i).row_bytes > kAmxRowBytes) std::abort();
      if ((At(i).rows == 0) != (At(i).row_bytes == 0)) std::abort();
    }
  }
  static void Release() {
    for (int i = 0; i < kAmxTiles; ++i) At(i) = {};
  }
  template <int kTile>
  static void Zero() {
    EmulatedTile& tile = Shaped(kTile);
    std::memset(tile.bytes, 0, sizeof(tile.bytes));
  }
  template <int kTile>
  static void Load(const void* p, int64_t stride) {
    EmulatedTile& tile = Shaped(kTile);
    std::memset(tile.bytes, 0, sizeof(tile.bytes));
    for (int r = 0; r < tile.rows; ++r) {
      std::memcpy(tile.bytes[r], static_cast<const uint8_t*>(p) + r * stride, tile.row_bytes);
    }
  }
  template <int kTile>
  static void Store(void* p, int64_t stride) {
    const EmulatedTile& tile = Shaped(kTile);
    for (int r = 0; r < tile.rows; ++r) {
      std::memcpy(static_cast<uint8_t*>(p) + r * stride, tile.bytes[r], tile.row_bytes);
    }
  }
  template <int kSum, int kA, int kB>
  static void MultiplyBytes() {
    const auto [sum, a, b] = Product(kSum, kA, kB);
    for (int row = 0; row < sum.rows; ++row) {
      for (int i = 0; i < a.row_bytes; ++i) {
        for (int column = 0; column < sum.row_bytes / 4; ++column) {
          const int product = a.At<int8_t>(row, i) * b.At<int8_t>(i / 4, 4 * column + i % 4);
          sum.Set(row, column, sum.At<int32_t>(row, column) + product);
        }
      }
    }
  }
  template <int kSum, int kA, int kB>
  static void MultiplyBf16() {
    const auto [sum, a, b] = Product(kSum, kA, kB);
    for (int row = 0; row < sum.rows; ++row) {
      float halves[2][kAmxRowBytes / 4] = {};
      for (int i = 0; i < a.row_bytes / 2; ++i) {
        const float x = FromBf16(a.At<uint16_t>(row, i));
        float* const half = halves[i % 2];
        for (int column = 0; column < sum.row_bytes / 4; ++column) {
          const float y = FromBf16(b.At<uint16_t>(i / 2, 2 * column + i % 2));
          half[column] = Flushed(half[column] + x * y);  // the product is exact
        }
      }
      for (int column = 0; column < sum.row_bytes / 4; ++column) {
        const float both = Flushed(halves[0][column] + halves[1][column]);
        sum.Set(row, column, Flushed(Flushed(sum.At<float>(row, column)) + both));
      }
    }
  }

 private:
  // Numbers too small for full precision count as 0.
  static float Flushed(float x) {
    return std::fabs(x) < std::numeric_limits<float>::min() ? 0.0f : x;
  }
  static float FromBf16(uint16_t bits) {
    const uint32_t word = uint32_t{bits} << 16;
    float value;
    std::memcpy(&value, &word, sizeof(value));
    return Flushed(value);
  }
  struct Factors {
    EmulatedTile& sum;
    const EmulatedTile& a;
    const EmulatedTile& b;
  };
  static Factors Product(int sum_tile, int a_tile, int b_tile) {
    EmulatedTile& sum = Shaped(sum_tile);
    const EmulatedTile& a = Shaped(a_tile);
    const EmulatedTile& b = Shaped(b_tile);
    if (sum.rows != a.rows || sum.row_bytes != b.row_bytes || a.row_bytes != 4 * b.rows) {
      std::abort();
    }
    return {sum, a, b};
  }
};

}  // namespace
}  // namespace transmla::cpu

#endif  // TRANSMLA_TESTS_ENGINE_BACKEND_EMULATED_TILES_EMULATED_H_
