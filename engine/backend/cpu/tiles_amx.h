// AmxTiles: the eight tile registers of a thread, as the kernels of AMX see them. Included by their
// translation units alone; tests put an emulation in its place (tests/engine/backend/amx).
//
// A product wants its second factor as products read it: row i of the register holds, for each
// column of the result in turn, the 4 bytes that meet bytes 4 i to 4 i + 3 of the first one's rows.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_TILES_AMX_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_TILES_AMX_H_

#include <cstdint>

#include "engine/backend/cpu/tile_shapes.h"

namespace transmla::cpu {
namespace {

// Assembly, since the compiler's own functions take a register's number as a literal only. It never
// uses tile registers by itself.
struct AmxTiles {
  // Also clears all registers. Takes some hundred cycles: once for many products.
  static void Shape(const TileShapes& shapes) {
    __asm__ volatile("ldtilecfg %0" : : "m"(shapes) : "memory");
  }
  // Registers that hold nothing are not saved when threads take turns.
  static void Release() { __asm__ volatile("tilerelease" : : : "memory"); }

  template <int kTile>
  static void Zero() {
    __asm__ volatile("tilezero %%tmm%c0" : : "i"(kTile));
  }
  // `stride`: bytes from row to row.
  template <int kTile>
  static void Load(const void* p, int64_t stride) {
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2"
                     :
                     : "r"(p), "r"(stride), "i"(kTile)
                     : "memory");
  }
  template <int kTile>
  static void Store(void* p, int64_t stride) {
    __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)"
                     :
                     : "r"(p), "r"(stride), "i"(kTile)
                     : "memory");
  }
  // sum += a · b of signed bytes, in 32-bit integers.
  template <int kSum, int kA, int kB>
  static void MultiplyBytes() {
    __asm__ volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSum), "i"(kA), "i"(kB));
  }
  // sum += a · b of BF16, in 32-bit floats: the products of even and of odd elements of a row are
  // each added one by one to 0, rounded each time, then both to the sum.
  template <int kSum, int kA, int kB>
  static void MultiplyBf16() {
    __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSum), "i"(kA), "i"(kB));
  }
};

}  // namespace
}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_TILES_AMX_H_
