// Integer products of panels with activation tiles (panel_kernels.h) in the tile registers of AMX.
// Included, after lanes_avx512vnni.h, by the translation unit of AMX and by that of its test; Tiles
// is AmxTiles or its emulation.
//
// For few tokens, and for results, the same as panel_dot_vnni_inl.h, bit for bit: integer sums of a
// block (of a part of it, where its scales change) are exact whichever way they are made, and the
// rest is done in the same order. Codes are unpacked around 0, so that no centre needs to be taken
// off afterwards.
//
// Sums leave the tile registers after each block, for its scales: that, and not the products, is
// what takes the time. Sixteen tokens with sixteen rows keep their scaled sums in vectors, and
// products run ahead of scaling, across tiles, by as much as it takes until their sums can be read.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_PANEL_DOT_AMX_INL_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_PANEL_DOT_AMX_INL_H_

#include <cstdint>

#include "engine/backend/cpu/activation_tiles.h"
#include "engine/backend/cpu/panel_blocks_inl.h"
#include "engine/backend/cpu/panel_dot_vnni_inl.h"
#include "engine/backend/cpu/panel_format.h"
#include "engine/backend/cpu/panel_kernels.h"
#include "engine/backend/cpu/tile_shapes.h"

namespace transmla::cpu {
namespace {

// Tokens of a tile of activations.
constexpr int kTileTokens = kAmxRows;
static_assert(kTileTokens == 2 * kTileGroup && WideVnniLanes::kWidth == kAmxRowBytes / 4);

// Codes as signed bytes around 0.
struct SignedCodes {
  template <PanelFormat P, int g>
  TRANSMLA_INLINE static VnniLanes::I Get(const PackedBlock<P>& block) {
    const VnniLanes::I code = block.template Group<g>();
    return P.centre == 0 ? code : VnniLanes::SubBytes(code, VnniLanes::SetByte(P.centre));
  }
};

// Tile registers, each of a part of a block.
constexpr int kActivations = 0;
constexpr int kCodes = 1;
constexpr int kSums = 2;

template <PanelFormat P>
constexpr TileShapes PanelTileShapes(int tokens) {
  TileShapes shapes;
  shapes.Set(kActivations, tokens, kPanelBlock / P.parts);
  shapes.Set(kCodes, kPanelGroups / P.parts, kAmxRowBytes);
  shapes.Set(kSums, tokens, kAmxRowBytes);
  return shapes;
}

// Blocks that products are ahead, and buffers for their sums: more, a power of two.
constexpr int kAhead = 2;
constexpr int kBuffers = 4;

// A pair of unpacked panels, as sixteen rows, with tiles of activations.
template <typename Tiles, PanelFormat P>
class PairProducts {
  using V = WideVnniLanes;
  using Block = PairBlock<P>;

 public:
  PairProducts(const PanelDotArgs& a, int row)
      : a_(a),
        row_(row),
        blocks_(a.k / kPanelBlock),
        pair_(a.scratch + row / V::kWidth * blocks_ * Block::kBytes) {}

  // All tokens of `tiles` full tiles.
  void RunFull(int tiles) {
    V::F acc[kTileTokens];
    Clear(acc);
    Place at{a_.tiles, 0, 0};      // of the next product
    Place scaled{a_.tiles, 0, 0};  // of the next scaling
    const int64_t steps = tiles * blocks_;
    for (int64_t step = 0; step < steps + kAhead; ++step) {
      if (step < steps) {
        Multiply(at, kTileTokens, sums_[step % kBuffers]);
        Advance(&at, kTileTokens);
      }
      if (step < kAhead) continue;
      const auto& sums = sums_[(step - kAhead) % kBuffers];
      const Block block(pair_ + scaled.block * Block::kBytes, 0);
      const TileBlock<kTileTokens> x[] = {
          {{scaled.tile, 0, 0, kTileTokens}, scaled.block},
          {{scaled.tile, kTileGroup, kTileGroup, kTileTokens}, scaled.block}};
      Unroll<0, P.parts>([&](auto part) __attribute__((always_inline)) {
        const V::F scale = block.template Scale<part.value>();
        Unroll<0, kTileTokens>([&](auto t) __attribute__((always_inline)) {
          const float token_scale = x[t.value / kTileGroup].Scale(t.value % kTileGroup);
          Scale(sums[part.value][t.value], V::Mul(scale, V::Set1(token_scale)), &acc[t.value]);
        });
      });
      if constexpr (P.affine) {
        const V::F offset = block.Offset();
        Unroll<0, kTileTokens>([&](auto t) __attribute__((always_inline)) {
          const float sum = x[t.value / kTileGroup].Sum(t.value % kTileGroup);
          acc[t.value] = V::Fma(offset, V::Set1(sum), acc[t.value]);
        });
      }
      const int token = scaled.token;
      Advance(&scaled, kTileTokens);
      if (scaled.token == token) continue;
      Unroll<0, kTileTokens>([&](auto t) __attribute__((always_inline)) {
        StoreRows<V>(a_, row_, token + t.value, acc[t.value]);
      });
      Clear(acc);
    }
  }

  // The last tokens, from `token` on.
  void RunRest(int token) {
    const int tokens = a_.tokens - token;
    V::F acc[kTileTokens];
    Clear(acc);
    for (Place at{a_.tiles + token * blocks_ * kTileBlockTokenBytes, 0, 0}; at.block < blocks_;
         ++at.block) {
      Multiply(at, tokens, sums_[0]);
      const Block block(pair_ + at.block * Block::kBytes, 0);
      for (int t = 0; t < tokens; ++t) {
        const TileBlock<0> x({at.tile, t / kTileGroup * kTileGroup, t, tokens}, at.block);
        Unroll<0, P.parts>([&](auto part) __attribute__((always_inline)) {
          const V::F factor = V::Mul(block.template Scale<part.value>(), V::Set1(x.Scale(0)));
          Scale(sums_[0][part.value][t], factor, &acc[t]);
        });
        if constexpr (P.affine) acc[t] = V::Fma(block.Offset(), V::Set1(x.Sum(0)), acc[t]);
      }
    }
    for (int t = 0; t < tokens; ++t) StoreRows<V>(a_, row_, token + t, acc[t]);
  }

 private:
  struct Place {
    const uint8_t* tile;
    int token;  // the first of the tile
    int64_t block;
  };

  TRANSMLA_INLINE void Advance(Place* place, int tokens) const {
    if (++place->block < blocks_) return;
    place->tile += tokens * blocks_ * kTileBlockTokenBytes;
    place->token += tokens;
    place->block = 0;
  }

  TRANSMLA_INLINE static void Clear(V::F (&acc)[kTileTokens]) {
    Unroll<0, kTileTokens>([&](auto t)
                               __attribute__((always_inline)) { acc[t.value] = V::Zero(); });
  }

  TRANSMLA_INLINE void Multiply(const Place& at, int tokens,
                                int32_t (&sums)[P.parts][kTileTokens][V::kWidth]) const {
    const uint8_t* x = at.tile + at.block * tokens * kTileBlockTokenBytes;
    const uint8_t* codes = pair_ + at.block * Block::kBytes + 4 * Block::kFloats;
    for (int part = 0; part < P.parts; ++part) {
      Tiles::template Load<kActivations>(x + kPanelBlock / P.parts * part, kTileBlock);
      Tiles::template Load<kCodes>(codes + kAmxRowBytes * (kPanelGroups / P.parts) * part,
                                   kAmxRowBytes);
      Tiles::template Zero<kSums>();
      Tiles::template MultiplyBytes<kSums, kActivations, kCodes>();
      Tiles::template Store<kSums>(sums[part], kAmxRowBytes);
    }
  }

  TRANSMLA_INLINE static void Scale(const int32_t (&sums)[V::kWidth], V::F factor, V::F* acc) {
    *acc = V::Fma(V::ToFloat(V::Load32(sums)), factor, *acc);
  }

  const PanelDotArgs& a_;
  const int row_;
  const int64_t blocks_;
  const uint8_t* const pair_;
  alignas(64) int32_t sums_[kBuffers][P.parts][kTileTokens][V::kWidth];
};

template <typename Tiles>
class AmxDots {
 public:
  template <PanelFormat P>
  static void Run(const PanelDotArgs& a) {
    if (a.tokens <= kPackedTokens) return VnniDots<kTileTokens>::template RunPacked<P>(a);
    ExpandPairs<P, SignedCodes>(a);
    const int tiles = a.tokens / kTileTokens;
    const int rest = a.tokens % kTileTokens;
    constexpr int kRows = WideVnniLanes::kWidth;
    Tiles::Shape(PanelTileShapes<P>(kTileTokens));
    // A pair's codes stay in the first-level cache while activations pass by.
    for (int row = 0; row < a.rows; row += kRows) PairProducts<Tiles, P>(a, row).RunFull(tiles);
    if (rest > 0) {
      Tiles::Shape(PanelTileShapes<P>(rest));
      for (int row = 0; row < a.rows; row += kRows) {
        PairProducts<Tiles, P>(a, row).RunRest(a.tokens - rest);
      }
    }
    Tiles::Release();
  }
};

}  // namespace
}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_PANEL_DOT_AMX_INL_H_
