// Integer products of panels (panel_format.h) with activation tiles (activation_tiles.h), over an
// abstract vector type, Lanes. Included, after a Lanes, by the translation unit of one instruction
// set; everything here has internal linkage for the reason that kernels.h gives.
//
// For each block of 32 columns, eight rows and a token:
//
//   out += (Σ code · q) · (scale of the row · scale of the token) + offset of the row · Σ x
//
// The inner sum is exact, in 16-bit lanes as long as it fits them: eight products of four-bit codes
// (8 · 2 · 15 · 127 < 2^15), four of five-bit, two of six-bit, one of eight-bit ones. The outer one
// runs over k in float, in the same order and with the same roundings for any number of tokens.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_PANEL_DOT_INL_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_PANEL_DOT_INL_H_

#include <cstdint>

#include "engine/backend/cpu/activation_tiles.h"
#include "engine/backend/cpu/kernels.h"
#include "engine/backend/cpu/panel_format.h"
#include "engine/tensor/dtype.h"

namespace transmla::cpu {
namespace {

#define TRANSMLA_INLINE inline __attribute__((always_inline))

template <int kValue>
struct Number {
  static constexpr int value = kValue;
};

// fn(Number<kBegin>), …, fn(Number<kEnd - 1>).
template <int kBegin, int kEnd, typename Fn>
TRANSMLA_INLINE void Unroll(const Fn& fn) {
  if constexpr (kBegin < kEnd) {
    fn(Number<kBegin>{});
    Unroll<kBegin + 1, kEnd>(fn);
  }
}

TRANSMLA_INLINE float FloatAt(const uint8_t* p) {
  float value;
  __builtin_memcpy(&value, p, sizeof(value));
  return value;
}

// --- codes ---

// Group g of the codes of a block, as unsigned bytes (8-bit codes: as they are, signed).
template <int kBits, int g>
TRANSMLA_INLINE Lanes::I Code(const uint8_t* codes) {
  if constexpr (kBits == 8) {
    return Lanes::LoadBytes(codes + 32 * g);
  } else {
    const Lanes::I pair = Lanes::LoadBytes(codes + 32 * (g % 4));
    const Lanes::I mask = Lanes::SetByte(15);
    const Lanes::I nibbles =
        g < 4 ? Lanes::And(pair, mask) : Lanes::And(Lanes::ShiftRight<4>(pair), mask);
    if constexpr (kBits == 4) {
      return nibbles;
    } else {
      constexpr int kShift = kBits == 5 ? g : 2 * (g % 4);
      const Lanes::I all = Lanes::LoadBytes(codes + 128 + (kBits == 5 ? 0 : 32 * (g / 4)));
      const Lanes::I upper = Lanes::SetByte(kBits == 5 ? 0x10 : 0x30);
      if constexpr (kShift <= 4) {
        return Lanes::Or(nibbles, Lanes::And(Lanes::ShiftLeft<4 - kShift>(all), upper));
      } else {
        return Lanes::Or(nibbles, Lanes::And(Lanes::ShiftRight<kShift - 4>(all), upper));
      }
    }
  }
}

// --- blocks: 32 columns of a panel, with scales as floats ---

// As panels hold them.
template <PanelFormat P>
struct PackedBlock {
  static constexpr int kBits = P.code_bits;
  static constexpr int kParts = P.parts;
  static constexpr bool kHasOffset = P.has_offset();

  const uint8_t* codes;
  Lanes::F scale[kParts];
  Lanes::F offset[kParts];

  template <int g>
  TRANSMLA_INLINE Lanes::I Group() const {
    return Code<kBits, g>(codes);
  }
};

// Calls fn(b, block) for each block of a panel of k columns.
template <PanelFormat P, typename Fn>
TRANSMLA_INLINE void ForEachBlock(const uint8_t* panel, int64_t k, const Fn& fn) {
  constexpr int kHeadBytes = P.head_bytes();
  constexpr int kHeadBlocks = P.head_blocks();
  constexpr int kScaleBytes = P.scale_bytes();
  constexpr int kCodeBytes = P.code_bytes();
  for (int64_t b = 0; b < k / kPanelBlock;) {
    const Lanes::F scale = Lanes::LoadHalves(panel);
    const Lanes::F offset = P.affine ? Lanes::LoadHalves(panel + 2 * kPanelRows) : scale;
    panel += kHeadBytes;
    for (int i = 0; i < kHeadBlocks; ++i, ++b) {
      PackedBlock<P> block;
#pragma GCC unroll 2
      for (int p = 0; p < P.parts; ++p) {
        block.scale[p] = scale;
        if constexpr (P.nested) {
          const uint8_t* factors = panel + kPanelRows * p;
          block.scale[p] =
              Lanes::Mul(scale, P.affine ? Lanes::LoadU8(factors) : Lanes::LoadI8(factors));
        }
        if constexpr (P.centre != 0) {
          block.offset[p] = Lanes::Mul(block.scale[p], Lanes::Set1(-P.centre));
        } else if constexpr (P.affine && P.nested) {
          block.offset[p] = Lanes::Mul(
              offset, Lanes::Mul(Lanes::Set1(-1.0f), Lanes::LoadU8(panel + kPanelRows * P.parts)));
        } else {
          block.offset[p] = offset;
        }
      }
      block.codes = panel + kScaleBytes;
      panel = block.codes + kCodeBytes;
      fn(b, block);
    }
  }
}

// Unpacked for many tokens: float scales [parts][8], float offsets [parts][8], codes [8][32].
// kBits is that of the codes' range.
template <int bits, int parts, bool has_offset>
struct ExpandedBlock {
  static constexpr int kBits = bits;
  static constexpr int kParts = parts;
  static constexpr bool kHasOffset = has_offset;
  static constexpr int kFloats = parts * (has_offset ? 2 : 1) * kPanelRows;
  static constexpr int kBytes = 4 * kFloats + kPanelBlock * kPanelRows;

  const uint8_t* codes;
  Lanes::F scale[kParts];
  Lanes::F offset[kParts];

  TRANSMLA_INLINE explicit ExpandedBlock(const uint8_t* p) : codes(p + 4 * kFloats) {
    const float* floats = reinterpret_cast<const float*>(p);
#pragma GCC unroll 2
    for (int i = 0; i < kParts; ++i) {
      scale[i] = Lanes::Load(floats + kPanelRows * i);
      offset[i] = kHasOffset ? Lanes::Load(floats + kPanelRows * (kParts + i)) : scale[i];
    }
  }
  template <int g>
  TRANSMLA_INLINE Lanes::I Group() const {
    return Lanes::LoadBytes(codes + 32 * g);
  }
};

template <PanelFormat P>
using Expanded = ExpandedBlock<P.code_bits, P.parts, P.has_offset()>;

template <PanelFormat P>
void ExpandPanel(const uint8_t* panel, int64_t k, uint8_t* out) {
  ForEachBlock<P>(
      panel, k, [&](int64_t, const PackedBlock<P>& block) __attribute__((always_inline)) {
        float* floats = reinterpret_cast<float*>(out);
        for (int p = 0; p < P.parts; ++p) {
          Lanes::Store(floats + kPanelRows * p, block.scale[p]);
          if constexpr (P.has_offset()) {
            Lanes::Store(floats + kPanelRows * (P.parts + p), block.offset[p]);
          }
        }
        uint8_t* codes = out + 4 * Expanded<P>::kFloats;
        Unroll<0, kPanelGroups>([&](auto g) __attribute__((always_inline)) {
          Lanes::StoreBytes(codes + 32 * g.value, block.template Group<g.value>());
        });
        out += Expanded<P>::kBytes;
      });
}

// --- products ---

// Where T tokens' part of a tile for 32 columns lies. The tile has kStride tokens.
template <int kStride>
struct TileBlock {
  const uint8_t* q;
  const uint8_t* scales;  // and sums

  TRANSMLA_INLINE TileBlock(const uint8_t* tile, int64_t block, int first_token) {
    const uint8_t* p = tile + block * (kTileBlockTokenBytes * kStride);
    q = p + kTileBlock * first_token;
    scales = p + kTileBlock * kStride + 4 * first_token;
  }
  TRANSMLA_INLINE Lanes::F Scale(int t) const { return Lanes::Set1(FloatAt(scales + 4 * t)); }
  TRANSMLA_INLINE Lanes::F Sum(int which, int t) const {
    return Lanes::Set1(FloatAt(scales + 4 * (kStride * (1 + which) + t)));
  }
};

// Adds the products of R panels' blocks with T tokens. acc[r · T + t].
template <int R, int T, typename Block, typename Tile>
TRANSMLA_INLINE void DotBlock(const Block (&block)[R], const Tile& x, Lanes::F (&acc)[R * T]) {
  constexpr int kChain = Block::kBits == 4 ? 8 : Block::kBits == 5 ? 4 : Block::kBits == 6 ? 2 : 1;
  constexpr int kPartGroups = kPanelGroups / Block::kParts;
  constexpr int kChains = kPartGroups / kChain;
  Unroll<0, Block::kParts>([&](auto part) __attribute__((always_inline)) {
    Lanes::I sum[R * T];
    Unroll<0, kChains>([&](auto chain) __attribute__((always_inline)) {
      Lanes::I pairs[R * T];
      Unroll<0, kChain>([&](auto step) __attribute__((always_inline)) {
        constexpr int g = part.value * kPartGroups + chain.value * kChain + step.value;
        Lanes::I code[R];
        Lanes::I magnitude[R];
        Unroll<0, R>([&](auto r) __attribute__((always_inline)) {
          code[r.value] = block[r.value].template Group<g>();
          magnitude[r.value] = Block::kBits == 8 ? Lanes::AbsBytes(code[r.value]) : code[r.value];
        });
        Unroll<0, T>([&](auto t) __attribute__((always_inline)) {
          const Lanes::I q = Lanes::Broadcast4(x.q + kTileBlock * t.value + 4 * g);
          Unroll<0, R>([&](auto r) __attribute__((always_inline)) {
            // |code| as unsigned holds -128 too, and |code| · |q| of a pair fits 16 bits.
            const Lanes::I factor = Block::kBits == 8 ? Lanes::SignBytes(q, code[r.value]) : q;
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
      const Lanes::F factor = Lanes::Mul(block[r].scale[part.value], x.Scale(t));
      acc[i.value] = Lanes::Fma(Lanes::ToFloat(sum[i.value]), factor, acc[i.value]);
      if constexpr (Block::kHasOffset) {
        const Lanes::F total = x.Sum(Block::kParts == 1 ? 0 : 1 + part.value, t);
        acc[i.value] = Lanes::Fma(block[r].offset[part.value], total, acc[i.value]);
      }
    });
  });
}

inline void StoreRows(const PanelDotArgs& a, int row, int token, Lanes::F sum) {
  float* out = a.out + token * a.out_stride + row;
  const int rows = a.rows - row;
  if (rows >= kPanelRows) {
    if (a.bias != nullptr) sum = Lanes::Add(sum, Lanes::Load(a.bias + row));
    Lanes::Store(out, a.accumulate ? Lanes::Add(Lanes::Load(out), sum) : sum);
    return;
  }
  float lanes[kPanelRows];
  Lanes::Store(lanes, sum);
  for (int r = 0; r < rows; ++r) {
    const float biased = a.bias != nullptr ? lanes[r] + a.bias[row + r] : lanes[r];
    out[r] = a.accumulate ? out[r] + biased : biased;
  }
}

// One panel after the other with all T tokens of a tile: what decoding costs is paid once.
template <PanelFormat P, int T>
void DotPacked(const PanelDotArgs& a, const uint8_t* tile, int token) {
  for (int row = 0; row < a.rows; row += kPanelRows) {
    Lanes::F acc[T];
    Unroll<0, T>([&](auto t) __attribute__((always_inline)) { acc[t.value] = Lanes::Zero(); });
    const uint8_t* panel = a.panels + row / kPanelRows * a.panel_bytes;
    ForEachBlock<P>(
        panel, a.k, [&](int64_t b, const PackedBlock<P>& block) __attribute__((always_inline)) {
          DotBlock<1, T>({block}, TileBlock<T>(tile, b, 0), acc);
        });
    for (int t = 0; t < T; ++t) StoreRows(a, row, token + t, acc[t]);
  }
}

// R unpacked panels from row `row` on with tokens [first, first + T) of a tile of kStride.
template <typename Block, int R, int T, int kStride>
TRANSMLA_INLINE void DotExpandedPart(const PanelDotArgs& a, const uint8_t* tile, int token, int row,
                                     int first) {
  const int64_t blocks = a.k / kPanelBlock;
  const uint8_t* p = a.scratch + row / kPanelRows * blocks * Block::kBytes;
  Lanes::F acc[R * T];
  Unroll<0, R * T>([&](auto i) __attribute__((always_inline)) { acc[i.value] = Lanes::Zero(); });
  for (int64_t b = 0; b < blocks; ++b, p += Block::kBytes) {
    const TileBlock<kStride> x(tile, b, first);
    if constexpr (R == 1) {
      DotBlock<1, T>({Block(p)}, x, acc);
    } else {
      DotBlock<2, T>({Block(p), Block(p + blocks * Block::kBytes)}, x, acc);
    }
  }
  for (int i = 0; i < R * T; ++i) {
    StoreRows(a, row + i / T * kPanelRows, token + first + i % T, acc[i]);
  }
}

// Two panels with half a full tile share their loads evenly: eight sums, two vectors of codes.
template <typename Block, int T>
void DotExpanded(const PanelDotArgs& a, const uint8_t* tile, int token) {
  int row = 0;
  if constexpr (T == kTileTokens) {
    for (; row + kPanelRows < a.rows; row += 2 * kPanelRows) {
      DotExpandedPart<Block, 2, T / 2, T>(a, tile, token, row, 0);
      DotExpandedPart<Block, 2, T / 2, T>(a, tile, token, row, T / 2);
    }
  }
  for (; row < a.rows; row += kPanelRows) DotExpandedPart<Block, 1, T, T>(a, tile, token, row, 0);
}

// From so many tokens on unpacking a panel once is cheaper than in each tile.
constexpr int kExpandTokens = 2 * kTileTokens + 1;

// fn(Number<T>, tile, token) for each tile.
template <typename Fn>
TRANSMLA_INLINE void ForEachTile(const PanelDotArgs& a, const Fn& fn) {
  for (int token = 0; token < a.tokens; token += kTileTokens) {
    const uint8_t* tile = a.tiles + a.k / kTileBlock * kTileBlockTokenBytes * token;
    switch (a.tokens - token) {
      case 1:
        return fn(Number<1>{}, tile, token);
      case 2:
        return fn(Number<2>{}, tile, token);
      case 3:
        return fn(Number<3>{}, tile, token);
      case 4:
        return fn(Number<4>{}, tile, token);
      case 5:
        return fn(Number<5>{}, tile, token);
      case 6:
        return fn(Number<6>{}, tile, token);
      case 7:
        return fn(Number<7>{}, tile, token);
      default:
        fn(Number<kTileTokens>{}, tile, token);
    }
  }
}

template <PanelFormat P>
void DotPanels(const PanelDotArgs& a) {
  if (a.tokens < kExpandTokens) {
    ForEachTile(a, [&](auto tokens, const uint8_t* tile, int token) {
      DotPacked<P, tokens.value>(a, tile, token);
    });
    return;
  }
  uint8_t* out = a.scratch;
  for (int row = 0; row < a.rows; row += kPanelRows) {
    ExpandPanel<P>(a.panels + row / kPanelRows * a.panel_bytes, a.k, out);
    out += a.k / kPanelBlock * Expanded<P>::kBytes;
  }
  ForEachTile(a, [&](auto tokens, const uint8_t* tile, int token) {
    DotExpanded<Expanded<P>, tokens.value>(a, tile, token);
  });
}

void PanelDot(const PanelDotArgs& a) {
  switch (a.dtype) {
    case DType::kQ4_0:
      return DotPanels<kPanelQ4_0>(a);
    case DType::kQ4_1:
      return DotPanels<kPanelQ4_1>(a);
    case DType::kQ5_0:
      return DotPanels<kPanelQ5_0>(a);
    case DType::kQ5_1:
      return DotPanels<kPanelQ5_1>(a);
    case DType::kQ8_0:
      return DotPanels<kPanelQ8_0>(a);
    case DType::kQ4_K:
      return DotPanels<kPanelQ4_K>(a);
    case DType::kQ5_K:
      return DotPanels<kPanelQ5_K>(a);
    case DType::kQ6_K:
      return DotPanels<kPanelQ6_K>(a);
    default:
      return;  // never: weights of other types are not kept in panels
  }
}

// --- activations ---

// Rounds 32 elements; writes them to `q`, and to `floats`, `stride` bytes apart, what
// activation_tiles.h puts behind them.
inline void QuantizeBlock(const float* x, uint8_t* q, uint8_t* floats, int stride) {
  // Below, a scale's inverse would overflow; the elements count as 0.
  constexpr float kLeast = 1e-30f;
  Lanes::F max = Lanes::Zero();
  for (int i = 0; i < kTileBlock; i += 8) max = Lanes::MaxAbs(max, Lanes::Load(x + i));
  const float greatest = Lanes::ReduceMax(max);
  const float scale = greatest < kLeast ? 0.0f : greatest / 127;
  const Lanes::F inverse = Lanes::Set1(greatest < kLeast ? 0.0f : 127 / greatest);
  Lanes::I rounded[4];
  for (int i = 0; i < 4; ++i) {
    rounded[i] = Lanes::Round(Lanes::Mul(Lanes::Load(x + 8 * i), inverse));
  }
  Lanes::StoreBytes(q, rounded[0], rounded[1], rounded[2], rounded[3]);
  const int32_t first = Lanes::Sum32(Lanes::Add32(rounded[0], rounded[1]));
  const int32_t last = Lanes::Sum32(Lanes::Add32(rounded[2], rounded[3]));
  const float values[4] = {scale, scale * static_cast<float>(first + last),
                           scale * static_cast<float>(first), scale * static_cast<float>(last)};
  for (int i = 0; i < 4; ++i) __builtin_memcpy(floats + i * stride, &values[i], sizeof(float));
}

void QuantizeTile(const float* x, int64_t stride, int tokens, int64_t k, uint8_t* tile) {
  for (int t = 0; t < tokens; ++t) {
    uint8_t* out = tile;
    for (int64_t c = 0; c < k; c += kTileBlock, out += kTileBlockTokenBytes * tokens) {
      QuantizeBlock(x + t * stride + c, out + kTileBlock * t, out + kTileBlock * tokens + 4 * t,
                    4 * tokens);
    }
  }
}

#undef TRANSMLA_INLINE

}  // namespace
}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_PANEL_DOT_INL_H_
