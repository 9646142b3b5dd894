// Integer products of panels with activation tiles (panel_kernels.h) on machines whose byte
// products are summed in pairs of 16 bits, over an abstract vector type, Lanes. Included, after a
// Lanes, by the translation unit of one instruction set.
//
// For each block of 32 columns, eight rows and a token:
//
//   out += (Σ (code - centre) · q) · (scale of the row · scale of the token) + offset of the row ·
//   Σ x
//
// The inner sum is exact, in 16-bit lanes as long as it fits them: eight products of four-bit codes
// (8 · 2 · 15 · 127 < 2^15), four of five-bit, two of six-bit, one of eight-bit ones.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_PANEL_DOT_INL_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_PANEL_DOT_INL_H_

#include <cstdint>

#include "engine/backend/cpu/activation_tiles.h"
#include "engine/backend/cpu/panel_blocks_inl.h"
#include "engine/backend/cpu/panel_format.h"
#include "engine/backend/cpu/panel_kernels.h"

namespace transmla::cpu {
namespace {

// A block unpacked for many tokens: float scales [parts][8], float offsets [8] if affine, codes
// [8][32].
template <PanelFormat P>
struct ExpandedBlock {
  static constexpr PanelFormat kFormat = P;
  static constexpr int kFloats = (P.parts + (P.affine ? 1 : 0)) * kPanelRows;
  static constexpr int kBytes = 4 * kFloats + kPanelBlock * kPanelRows;

  const uint8_t* codes;
  Lanes::F scale[P.parts];
  Lanes::F offset;

  TRANSMLA_INLINE explicit ExpandedBlock(const uint8_t* p) : codes(p + 4 * kFloats) {
    const float* floats = reinterpret_cast<const float*>(p);
    Unroll<0, P.parts>([&](auto i) __attribute__((always_inline)) {
      scale[i.value] = Lanes::Load(floats + kPanelRows * i.value);
    });
    offset = P.affine ? Lanes::Load(floats + kPanelRows * P.parts) : scale[0];
  }
  template <int g>
  TRANSMLA_INLINE Lanes::I Group() const {
    return Lanes::LoadBytes(codes + 32 * g);
  }
};

template <PanelFormat P>
void ExpandPanel(const uint8_t* panel, int64_t k, uint8_t* out) {
  using Block = ExpandedBlock<P>;
  ForEachBlock<P>(
      panel, k, [&](int64_t, const PackedBlock<P>& block) __attribute__((always_inline)) {
        float* floats = reinterpret_cast<float*>(out);
        for (int p = 0; p < P.parts; ++p) Lanes::Store(floats + kPanelRows * p, block.scale[p]);
        if constexpr (P.affine) Lanes::Store(floats + kPanelRows * P.parts, block.offset);
        uint8_t* codes = out + 4 * Block::kFloats;
        Unroll<0, kPanelGroups>([&](auto g) __attribute__((always_inline)) {
          Lanes::StoreBytes(codes + 32 * g.value, block.template Group<g.value>());
        });
        out += Block::kBytes;
      });
}

// Adds the products of R panels' blocks with T tokens. acc[r · T + t].
template <int R, int T, typename Block, typename Tile>
TRANSMLA_INLINE void DotBlock(const Block (&block)[R], const Tile& x, Lanes::F (&acc)[R * T]) {
  constexpr PanelFormat P = Block::kFormat;
  constexpr int kBits = P.code_bits;
  constexpr int kChain = kBits == 4 ? 8 : kBits == 5 ? 4 : kBits == 6 ? 2 : 1;
  constexpr int kPartGroups = kPanelGroups / P.parts;
  constexpr int kChains = kPartGroups / kChain;
  Unroll<0, P.parts>([&](auto part) __attribute__((always_inline)) {
    Lanes::I sum[R * T];
    Unroll<0, kChains>([&](auto chain) __attribute__((always_inline)) {
      Lanes::I pairs[R * T];
      Unroll<0, kChain>([&](auto step) __attribute__((always_inline)) {
        constexpr int g = part.value * kPartGroups + chain.value * kChain + step.value;
        Lanes::I code[R];
        Lanes::I magnitude[R];
        Unroll<0, R>([&](auto r) __attribute__((always_inline)) {
          code[r.value] = block[r.value].template Group<g>();
          magnitude[r.value] = kBits == 8 ? Lanes::AbsBytes(code[r.value]) : code[r.value];
        });
        Unroll<0, T>([&](auto t) __attribute__((always_inline)) {
          const Lanes::I q = Lanes::Broadcast4(x.Columns(g, t.value));
          Unroll<0, R>([&](auto r) __attribute__((always_inline)) {
            // |code| as unsigned holds -128 too, and |code| · |q| of a pair fits 16 bits.
            const Lanes::I factor = kBits == 8 ? Lanes::SignBytes(q, code[r.value]) : q;
            const Lanes::I product = Lanes::MulPairs(magnitude[r.value], factor);
            Lanes::I& to = pairs[r.value * T + t.value];
            to = step.value == 0 ? product : Lanes::Add16(to, product);
          });
        });
      });
      Unroll<0, R * T>([&](auto i) __attribute__((always_inline)) {
        const Lanes::I total = Lanes::SumPairs(pairs[i.value]);
        sum[i.value] = chain.value == 0 ? total : Lanes::Add32(sum[i.value], total);
      });
    });
    Unroll<0, R * T>([&](auto i) __attribute__((always_inline)) {
      constexpr int r = i.value / T;
      constexpr int t = i.value % T;
      if constexpr (P.centre != 0) {
        sum[i.value] =
            Lanes::Add32(sum[i.value], MinusCentre<Lanes, P, P.centre, part.value>(x, t));
      }
      const Lanes::F factor = Lanes::Mul(block[r].scale[part.value], Lanes::Set1(x.Scale(t)));
      acc[i.value] = Lanes::Fma(Lanes::ToFloat(sum[i.value]), factor, acc[i.value]);
      if constexpr (P.affine) {
        acc[i.value] = Lanes::Fma(block[r].offset, Lanes::Set1(x.Sum(t)), acc[i.value]);
      }
    });
  });
}

// One panel after the other with all T tokens of a tile: what decoding costs is paid once.
template <PanelFormat P, int T, int kTokens>
__attribute__((noinline)) void DotPacked(const PanelDotArgs& a, const TilePart<kTokens>& part,
                                         int token) {
  for (int row = 0; row < a.rows; row += kPanelRows) {
    Lanes::F acc[T];
    Unroll<0, T>([&](auto t) __attribute__((always_inline)) { acc[t.value] = Lanes::Zero(); });
    const uint8_t* panel = a.panels + row / kPanelRows * a.panel_bytes;
    ForEachBlock<P>(
        panel, a.k, [&](int64_t b, const PackedBlock<P>& block) __attribute__((always_inline)) {
          DotBlock<1, T>({block}, TileBlock(part, b), acc);
        });
    for (int t = 0; t < T; ++t) StoreRows<Lanes>(a, row, token + t, acc[t]);
  }
}

// R unpacked panels from row `row` on with T tokens.
template <typename Block, int R, int T, typename Part>
TRANSMLA_INLINE void DotExpandedPart(const PanelDotArgs& a, const Part& part, int token, int row) {
  const int64_t blocks = a.k / kPanelBlock;
  const uint8_t* p = a.scratch + row / kPanelRows * blocks * Block::kBytes;
  Lanes::F acc[R * T];
  Unroll<0, R * T>([&](auto i) __attribute__((always_inline)) { acc[i.value] = Lanes::Zero(); });
  for (int64_t b = 0; b < blocks; ++b, p += Block::kBytes) {
    const TileBlock x(part, b);
    if constexpr (R == 1) {
      DotBlock<1, T>({Block(p)}, x, acc);
    } else {
      DotBlock<2, T>({Block(p), Block(p + blocks * Block::kBytes)}, x, acc);
    }
  }
  for (int i = 0; i < R * T; ++i) {
    StoreRows<Lanes>(a, row + i / T * kPanelRows, token + i % T, acc[i]);
  }
}

// Two panels with half of a full part share their loads evenly: eight sums, two vectors of codes.
template <typename Block, int T, typename Part>
__attribute__((noinline)) void DotExpanded(const PanelDotArgs& a, const Part& part, int token) {
  int row = 0;
  if constexpr (T == kTileGroup) {
    constexpr int kHalf = T / 2;
    for (; row + kPanelRows < a.rows; row += 2 * kPanelRows) {
      DotExpandedPart<Block, 2, kHalf>(a, part, token, row);
      DotExpandedPart<Block, 2, kHalf>(a, part.From(kHalf), token + kHalf, row);
    }
  }
  for (; row < a.rows; row += kPanelRows) DotExpandedPart<Block, 1, T>(a, part, token, row);
}

struct PairDots {
  template <PanelFormat P>
  static void Run(const PanelDotArgs& a) {
    if (a.tokens <= kPackedTokens) {
      ForEachTileGroup<kTileGroup>(a, [&](auto tokens, const auto& part, int token) {
        DotPacked<P, tokens.value>(a, part, token);
      });
      return;
    }
    uint8_t* out = a.scratch;
    for (int row = 0; row < a.rows; row += kPanelRows) {
      ExpandPanel<P>(a.panels + row / kPanelRows * a.panel_bytes, a.k, out);
      out += a.k / kPanelBlock * ExpandedBlock<P>::kBytes;
    }
    ForEachTileGroup<kTileGroup>(a, [&](auto tokens, const auto& part, int token) {
      DotExpanded<ExpandedBlock<P>, tokens.value>(a, part, token);
    });
  }
};

constexpr PanelKernels kPairKernels = {
    .tile_tokens = kTileGroup, .quantize_tile = QuantizeTile, .dot = WithPanelFormat<PairDots>};

#undef TRANSMLA_INLINE

}  // namespace
}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_PANEL_DOT_INL_H_
