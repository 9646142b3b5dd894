// Integer products of panels with activation tiles (panel_kernels.h) on machines that add four byte
// products to 32 bits in one instruction (VNNI of AVX-512 or of AVX). Included, after VnniLanes and
// WideVnniLanes, by the translation units of these.
//
// For each block of 32 columns, the rows and a token:
//
//   out += (Σ (code - centre) · q) · (scale of the row · scale of the token) + offset of the row ·
//   Σ x
//
// The instruction wants one unsigned factor: 8-bit codes become unsigned around a centre of 128.
// The inner sum begins at -centre · Σ q, which the tile knows. Few tokens meet panels as they are,
// one or, with AVX-512, two at a time, of eight rows each; for many, panels are unpacked in pairs
// first, sixteen rows a vector. All give the same bits.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_PANEL_DOT_VNNI_INL_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_PANEL_DOT_VNNI_INL_H_

#include <cstdint>

#include "engine/backend/cpu/activation_tiles.h"
#include "engine/backend/cpu/lanes_twice.h"
#include "engine/backend/cpu/panel_blocks_inl.h"
#include "engine/backend/cpu/panel_format.h"
#include "engine/backend/cpu/panel_kernels.h"

namespace transmla::cpu {
namespace {

// Group g of a block's codes as unsigned bytes.
struct UnsignedCodes {
  template <PanelFormat P, int g, typename Rows>
  TRANSMLA_INLINE static typename Rows::V::I Get(const PackedBlock<P, Rows>& block) {
    using V = typename Rows::V;
    const typename V::I code = block.template Group<g>();
    return P.code_bits == 8 ? V::Xor(code, V::SetByte(0x80)) : code;
  }
};

// What UnsignedCodes are too large by.
template <PanelFormat P>
constexpr int kUnsignedCentre = P.code_bits == 8 ? 128 : P.centre;

// A block of panels as they are, as DotBlock wants it.
template <PanelFormat P, typename Rows>
struct PanelBlock {
  using V = typename Rows::V;
  const PackedBlock<P, Rows>& packed;

  template <int part>
  TRANSMLA_INLINE typename V::F Scale() const {
    return packed.scale[part];
  }
  TRANSMLA_INLINE typename V::F Offset() const { return packed.offset; }
  template <int g>
  TRANSMLA_INLINE typename V::I Group() const {
    return UnsignedCodes::Get<P, g>(packed);
  }
};

// A block of two panels, unpacked: float scales [parts][16], float offsets [16] if affine, codes
// [8][64].
template <PanelFormat P>
struct PairBlock {
  static constexpr int kFloats = (P.parts + (P.affine ? 1 : 0)) * 2 * kPanelRows;
  static constexpr int kBytes = 4 * kFloats + 2 * kPanelBlock * kPanelRows;

  const uint8_t* bytes;

  // Made as TwoPairBlocks are, which need the second argument.
  TRANSMLA_INLINE PairBlock(const uint8_t* p, int64_t) : bytes(p) {}
  TRANSMLA_INLINE WideVnniLanes::F Floats(int i) const {
    return WideVnniLanes::Load(reinterpret_cast<const float*>(bytes) + 2 * kPanelRows * i);
  }
  template <int part>
  TRANSMLA_INLINE WideVnniLanes::F Scale() const {
    return Floats(part);
  }
  TRANSMLA_INLINE WideVnniLanes::F Offset() const { return Floats(P.parts); }
  template <int g>
  TRANSMLA_INLINE WideVnniLanes::I Group() const {
    return WideVnniLanes::LoadBytes(bytes + 4 * kFloats + 64 * g);
  }
};

using TwoWide = TwiceLanes<WideVnniLanes>;

// The same block of two pairs.
template <PanelFormat P>
struct TwoPairBlocks {
  PairBlock<P> first, second;

  // `pair_bytes`: of a whole pair of panels, which the other one's follow.
  TRANSMLA_INLINE TwoPairBlocks(const uint8_t* p, int64_t pair_bytes)
      : first(p, pair_bytes), second(p + pair_bytes, pair_bytes) {}
  template <int part>
  TRANSMLA_INLINE TwoWide::F Scale() const {
    return {first.template Scale<part>(), second.template Scale<part>()};
  }
  TRANSMLA_INLINE TwoWide::F Offset() const { return {first.Offset(), second.Offset()}; }
  template <int g>
  TRANSMLA_INLINE TwoWide::I Group() const {
    return {first.template Group<g>(), second.template Group<g>()};
  }
};

// Unpacks one panel as half 0 or 1 of a pair.
template <PanelFormat P, typename Codes>
void ExpandHalf(const uint8_t* panel, int64_t k, int half, uint8_t* out) {
  using Block = PairBlock<P>;
  ForEachBlock<P>(
      panel, k, [&](int64_t, const PackedBlock<P>& block) __attribute__((always_inline)) {
        float* floats = reinterpret_cast<float*>(out) + kPanelRows * half;
        for (int p = 0; p < P.parts; ++p) Lanes::Store(floats + 2 * kPanelRows * p, block.scale[p]);
        if constexpr (P.affine) Lanes::Store(floats + 2 * kPanelRows * P.parts, block.offset);
        uint8_t* codes = out + 4 * Block::kFloats + 32 * half;
        Unroll<0, kPanelGroups>([&](auto g) __attribute__((always_inline)) {
          Lanes::StoreBytes(codes + 64 * g.value, Codes::template Get<P, g.value>(block));
        });
        out += Block::kBytes;
      });
}

// Unpacks all panels of a product to its scratch.
template <PanelFormat P, typename Codes>
void ExpandPairs(const PanelDotArgs& a) {
  uint8_t* out = a.scratch;
  const int panels = (a.rows + kPanelRows - 1) / kPanelRows;
  for (int panel = 0; panel < panels; panel += 2) {
    ExpandHalf<P, Codes>(a.panels + panel * a.panel_bytes, a.k, 0, out);
    // The last panel may be alone: its pair's other half is then what the scratch held, and its
    // rows are not stored.
    if (panel + 1 < panels) {
      ExpandHalf<P, Codes>(a.panels + (panel + 1) * a.panel_bytes, a.k, 1, out);
    }
    out += a.k / kPanelBlock * PairBlock<P>::kBytes;
  }
}

// Adds the products of a block with T tokens.
template <typename V, PanelFormat P, int T, typename Block, typename Tile>
TRANSMLA_INLINE void DotBlock(const Block& block, const Tile& x, typename V::F (&acc)[T]) {
  constexpr int kGroups = kPanelGroups / P.parts;
  // Of few tokens, each sum is made in two halves: they would wait for one another.
  constexpr int kHalves = T <= 2 ? 2 : 1;
  Unroll<0, P.parts>([&](auto part) __attribute__((always_inline)) {
    typename V::I sum[T * kHalves];
    Unroll<0, T>([&](auto t) __attribute__((always_inline)) {
      sum[t.value] = MinusCentre<V, P, kUnsignedCentre<P>, part.value>(x, t.value);
      if constexpr (kHalves == 2) sum[T + t.value] = V::Zero32();
    });
    Unroll<part.value * kGroups, (part.value + 1) * kGroups>([&](
        auto g) __attribute__((always_inline)) {
      const typename V::I code = block.template Group<g.value>();
      Unroll<0, T>([&](auto t) __attribute__((always_inline)) {
        typename V::I& to = sum[g.value % kHalves * T + t.value];
        to = V::AddProducts(to, code, V::Broadcast4(x.Columns(g.value, t.value)));
      });
    });
    if constexpr (kHalves == 2) {
      Unroll<0, T>([&](auto t) __attribute__((always_inline)) {
        sum[t.value] = V::Add32(sum[t.value], sum[T + t.value]);
      });
    }
    const typename V::F scale = block.template Scale<part.value>();
    Unroll<0, T>([&](auto t) __attribute__((always_inline)) {
      const typename V::F factor = V::Mul(scale, V::Set1(x.Scale(t.value)));
      acc[t.value] = V::Fma(V::ToFloat(sum[t.value]), factor, acc[t.value]);
    });
  });
  if constexpr (P.affine) {
    const typename V::F offset = block.Offset();
    Unroll<0, T>([&](auto t) __attribute__((always_inline)) {
      acc[t.value] = V::Fma(offset, V::Set1(x.Sum(t.value)), acc[t.value]);
    });
  }
}

// T tokens of one group with the panels from `row` on.
template <typename V, typename Rows, PanelFormat P, int T, int kTokens>
TRANSMLA_INLINE void DotGroupOfRows(const PanelDotArgs& a, const TilePart<kTokens>& part, int token,
                                    int row) {
  typename V::F acc[T];
  Unroll<0, T>([&](auto t) __attribute__((always_inline)) { acc[t.value] = V::Zero(); });
  const uint8_t* const panels = a.panels + row / kPanelRows * a.panel_bytes;
  ForEachBlock<P>(
      Rows(panels, a.panel_bytes), panels,
      a.k, [&](int64_t b, const PackedBlock<P, Rows>& block) __attribute__((always_inline)) {
        DotBlock<V, P, T>(PanelBlock<P, Rows>{block}, TileBlock(part, b), acc);
      });
  for (int t = 0; t < T; ++t) StoreRows<V>(a, row, token + t, acc[t]);
}

// Whether T tokens meet two panels at a time: where registers have room for that, and what is done
// for a block's codes and scales is worth sharing. Few tokens wait for memory, and so do codes of 8
// bits, which need no taking apart: one panel after the other is read best.
template <PanelFormat P, int T>
constexpr bool kTwoPanelsPay = FewPanels::kPanels == 2 && P.code_bits < 8 &&
                               T >= (P.nested ? 3 : 5);

template <PanelFormat P, int T, int kTokens>
__attribute__((noinline)) void DotPacked(const PanelDotArgs& a, const TilePart<kTokens>& part,
                                         int token) {
  int row = 0;
  if constexpr (kTwoPanelsPay<P, T>) {
    for (; row + kPanelRows < a.rows; row += 2 * kPanelRows) {
      DotGroupOfRows<WideVnniLanes, FewPanels, P, T>(a, part, token, row);
    }
  }
  for (; row < a.rows; row += kPanelRows) {
    DotGroupOfRows<VnniLanes, OnePanel, P, T>(a, part, token, row);
  }
}

// The same block with its codes taken apart, for more than one group of tokens.
template <PanelFormat P, typename Rows>
struct OpenBlock {
  using V = typename Rows::V;
  PanelBlock<P, Rows> block;
  typename V::I codes[kPanelGroups];

  TRANSMLA_INLINE explicit OpenBlock(const PackedBlock<P, Rows>& packed) : block{packed} {
    Unroll<0, kPanelGroups>([&](auto g) __attribute__((always_inline)) {
      codes[g.value] = block.template Group<g.value>();
    });
  }
  template <int part>
  TRANSMLA_INLINE typename V::F Scale() const {
    return block.template Scale<part>();
  }
  TRANSMLA_INLINE typename V::F Offset() const { return block.Offset(); }
  template <int g>
  TRANSMLA_INLINE typename V::I Group() const {
    return codes[g];
  }
};

// Two groups of tokens, of kTileGroup and of T, which meet each block of the panels from `row` on
// one after the other: panels are read and taken apart once.
template <typename V, typename Rows, PanelFormat P, int T, typename First, typename Second>
TRANSMLA_INLINE void DotGroupsOfRows(const PanelDotArgs& a, const First& first,
                                     const Second& second, int row) {
  typename V::F firsts[kTileGroup];
  typename V::F seconds[T];
  Unroll<0, kTileGroup>([&](auto t)
                            __attribute__((always_inline)) { firsts[t.value] = V::Zero(); });
  Unroll<0, T>([&](auto t) __attribute__((always_inline)) { seconds[t.value] = V::Zero(); });
  const uint8_t* const panels = a.panels + row / kPanelRows * a.panel_bytes;
  ForEachBlock<P>(
      Rows(panels, a.panel_bytes), panels,
      a.k, [&](int64_t b, const PackedBlock<P, Rows>& packed) __attribute__((always_inline)) {
        const OpenBlock<P, Rows> block(packed);
        DotBlock<V, P, kTileGroup>(block, TileBlock(first, b), firsts);
        DotBlock<V, P, T>(block, TileBlock(second, b), seconds);
      });
  for (int t = 0; t < kTileGroup; ++t) StoreRows<V>(a, row, t, firsts[t]);
  for (int t = 0; t < T; ++t) StoreRows<V>(a, row, kTileGroup + t, seconds[t]);
}

template <PanelFormat P, int T, typename First, typename Second>
__attribute__((noinline)) void DotPackedGroups(const PanelDotArgs& a, const First& first,
                                               const Second& second) {
  int row = 0;
  if constexpr (kTwoPanelsPay<P, kTileGroup + T>) {
    for (; row + kPanelRows < a.rows; row += 2 * kPanelRows) {
      DotGroupsOfRows<WideVnniLanes, FewPanels, P, T>(a, first, second, row);
    }
  }
  for (; row < a.rows; row += kPanelRows) {
    DotGroupsOfRows<VnniLanes, OnePanel, P, T>(a, first, second, row);
  }
}

// Unpacked rows from `row` on, as many as V has lanes, with T tokens.
template <typename V, typename Block, PanelFormat P, int T, typename Part>
TRANSMLA_INLINE void DotPairsPart(const PanelDotArgs& a, const Part& part, int token, int row) {
  const int64_t blocks = a.k / kPanelBlock;
  const int64_t pair_bytes = blocks * PairBlock<P>::kBytes;
  const uint8_t* p = a.scratch + row / WideVnniLanes::kWidth * pair_bytes;
  typename V::F acc[T];
  Unroll<0, T>([&](auto t) __attribute__((always_inline)) { acc[t.value] = V::Zero(); });
  for (int64_t b = 0; b < blocks; ++b, p += PairBlock<P>::kBytes) {
    DotBlock<V, P, T>(Block(p, pair_bytes), TileBlock(part, b), acc);
  }
  for (int t = 0; t < T; ++t) StoreRows<V>(a, row, token + t, acc[t]);
}

// A pair with T tokens, as many at a time as registers hold.
template <PanelFormat P, int T, typename Part>
TRANSMLA_INLINE void DotPair(const PanelDotArgs& a, const Part& part, int token, int row) {
  if constexpr (T > kPairTokens) {
    DotPair<P, kPairTokens>(a, part, token, row);
    DotPair<P, T - kPairTokens>(a, part.From(kPairTokens), token + kPairTokens, row);
  } else {
    DotPairsPart<WideVnniLanes, PairBlock<P>, P, T>(a, part, token, row);
  }
}

template <PanelFormat P, int T, typename Part>
__attribute__((noinline)) void DotPairs(const PanelDotArgs& a, const Part& part, int token) {
  constexpr int kWidth = WideVnniLanes::kWidth;
  int row = 0;
  if constexpr (T == kTileGroup && kPairsAtOnce == 2) {
    constexpr int kHalf = T / 2;
    for (; row + kWidth < a.rows; row += 2 * kWidth) {
      DotPairsPart<TwoWide, TwoPairBlocks<P>, P, kHalf>(a, part, token, row);
      DotPairsPart<TwoWide, TwoPairBlocks<P>, P, kHalf>(a, part.From(kHalf), token + kHalf, row);
    }
  }
  for (; row < a.rows; row += kWidth) DotPair<P, T>(a, part, token, row);
}

// kTile: tokens of a full tile of activations.
template <int kTile>
struct VnniDots {
  template <PanelFormat P>
  static void Run(const PanelDotArgs& a) {
    if (a.tokens <= kPackedTokens) return RunPacked<P>(a);
    ExpandPairs<P, UnsignedCodes>(a);
    ForEachTileGroup<kTile>(a, [&](auto tokens, const auto& part, int token) {
      DotPairs<P, tokens.value>(a, part, token);
    });
  }
  // Up to kPackedTokens tokens.
  template <PanelFormat P>
  static void RunPacked(const PanelDotArgs& a) {
    // AVX's sixteen registers hold the sums of one group, and little else.
    if constexpr (FewPanels::kPanels == 2) {
      if (a.tokens > kTileGroup) return RunPackedGroups<P>(a);
    }
    ForEachTileGroup<kTile>(a, [&](auto tokens, const auto& part, int token) {
      DotPacked<P, tokens.value>(a, part, token);
    });
  }
  // More than a group of them.
  template <PanelFormat P>
  static void RunPackedGroups(const PanelDotArgs& a) {
    static_assert(kPackedTokens == 2 * kTileGroup && kPackedTokens % kTile == 0);
    const int64_t tile_bytes = a.k / kTileBlock * kTileBlockTokenBytes * kTileGroup;
    const int rest = a.tokens - kTileGroup;
    // Both groups are of one tile, or each has its own.
    constexpr bool kShared = kTile > kTileGroup;
    const uint8_t* const second_tile = kShared ? a.tiles : a.tiles + tile_bytes;
    constexpr int kSecondGroup = kShared ? kTileGroup : 0;
    if (rest == kTileGroup) {
      return DotPackedGroups<P, kTileGroup>(
          a, TilePart<kTile>{a.tiles, 0, 0, kTile},
          TilePart<kTile>{second_tile, kSecondGroup, kSecondGroup, kTile});
    }
    const TilePart<kShared ? 0 : kTile> first{a.tiles, 0, 0, kShared ? a.tokens : kTile};
    const TilePart<0> second{second_tile, kSecondGroup, kSecondGroup, kShared ? a.tokens : rest};
    WithTokens<kTileGroup - 1>(rest, second, kTileGroup, [&](auto tokens, const auto& part, int) {
      DotPackedGroups<P, tokens.value>(a, first, part);
    });
  }
};

}  // namespace
}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_PANEL_DOT_VNNI_INL_H_
