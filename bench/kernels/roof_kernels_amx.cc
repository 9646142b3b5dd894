#include "bench/kernels/roof_kernels.h"
#include "engine/backend/cpu/tiles_amx.h"

namespace transmla {
namespace {

using cpu::AmxTiles;

// Registers: six of sums, so that none waits for itself, and two of factors.
constexpr int kA = 6;
constexpr int kB = 7;

// kRoofChains products, `Multiply::Run<sum>()` each.
template <typename Multiply>
float MultiplyTiles(int64_t rounds) {
  cpu::TileShapes shapes;
  for (int i = 0; i < cpu::kAmxTiles; ++i) shapes.Set(i, cpu::kAmxRows, cpu::kAmxRowBytes);
  AmxTiles::Shape(shapes);  // which also makes all registers zeros
  static_assert(kRoofChains == 10);
  do {
    for (int turn = 0; turn < kRoofTurns; ++turn) {
      Multiply::template Run<0>();
      Multiply::template Run<1>();
      Multiply::template Run<2>();
      Multiply::template Run<3>();
      Multiply::template Run<4>();
      Multiply::template Run<5>();
      Multiply::template Run<0>();
      Multiply::template Run<1>();
      Multiply::template Run<2>();
      Multiply::template Run<3>();
    }
  } while (--rounds > 0);
  float sums[cpu::kAmxRows][cpu::kAmxRowBytes / 4];
  AmxTiles::Store<0>(sums, cpu::kAmxRowBytes);
  AmxTiles::Release();
  return sums[0][0];
}

struct Bytes {
  template <int kSum>
  static void Run() {
    AmxTiles::MultiplyBytes<kSum, kA, kB>();
  }
};

struct Bf16 {
  template <int kSum>
  static void Run() {
    AmxTiles::MultiplyBf16<kSum, kA, kB>();
  }
};

}  // namespace

float MultiplyI8Amx(int64_t rounds) { return MultiplyTiles<Bytes>(rounds); }
float MultiplyBF16Amx(int64_t rounds) { return MultiplyTiles<Bf16>(rounds); }

}  // namespace transmla
