// How products read panels (panel_format.h) and write activation tiles (activation_tiles.h), over
// an abstract vector type, Lanes. Included, after a Lanes, by the translation unit of one
// instruction set; everything here has internal linkage for the reason that kernels.h gives.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_PANEL_BLOCKS_INL_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_PANEL_BLOCKS_INL_H_

#include <cstdint>

#include "engine/backend/cpu/activation_tiles.h"
#include "engine/backend/cpu/cache_line.h"
#include "engine/backend/cpu/panel_format.h"
#include "engine/backend/cpu/panel_kernels.h"
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

// --- rows ---

// The rows of one panel. With V, functions that load from where the panel has something.
struct OnePanel {
  using V = Lanes;
  static constexpr int kPanels = 1;

  // Made as TwoPanels are, which need the arguments.
  TRANSMLA_INLINE OnePanel(const uint8_t*, int64_t) {}
  TRANSMLA_INLINE V::I Bytes(const uint8_t* p) const { return V::LoadBytes(p); }
  TRANSMLA_INLINE V::F Halves(const uint8_t* p) const { return V::LoadHalves(p); }
  TRANSMLA_INLINE V::F U8(const uint8_t* p) const { return V::LoadU8(p); }
  TRANSMLA_INLINE V::F I8(const uint8_t* p) const { return V::LoadI8(p); }
  // Asks for what comes `ahead` bytes behind p.
  TRANSMLA_INLINE void Fetch(const uint8_t* p, int64_t ahead) const {
    __builtin_prefetch(p + ahead);
  }
};

// --- codes ---

// Group g of the codes of a block, as unsigned bytes (8-bit codes: as they are, signed).
template <int kBits, int g, typename Rows>
TRANSMLA_INLINE typename Rows::V::I Code(const Rows& rows, const uint8_t* codes) {
  using V = typename Rows::V;
  if constexpr (kBits == 8) {
    return rows.Bytes(codes + 32 * g);
  } else {
    const typename V::I pair = rows.Bytes(codes + 32 * (g % 4));
    const typename V::I mask = V::SetByte(15);
    const typename V::I nibbles =
        g < 4 ? V::And(pair, mask) : V::And(V::template ShiftRight<4>(pair), mask);
    if constexpr (kBits == 4) {
      return nibbles;
    } else {
      constexpr int kShift = kBits == 5 ? g : 2 * (g % 4);
      const typename V::I all = rows.Bytes(codes + 128 + (kBits == 5 ? 0 : 32 * (g / 4)));
      const typename V::I upper = V::SetByte(kBits == 5 ? 0x10 : 0x30);
      if constexpr (kShift <= 4) {
        return V::Or(nibbles, V::And(V::template ShiftLeft<4 - kShift>(all), upper));
      } else {
        return V::Or(nibbles, V::And(V::template ShiftRight<kShift - 4>(all), upper));
      }
    }
  }
}

// --- blocks: 32 columns of a panel, or of two, with scales as floats ---

template <PanelFormat P, typename Rows = OnePanel>
struct PackedBlock {
  static constexpr PanelFormat kFormat = P;
  using V = typename Rows::V;

  Rows rows;
  const uint8_t* codes;
  typename V::F scale[P.parts];
  typename V::F offset;  // affine only

  template <int g>
  TRANSMLA_INLINE typename V::I Group() const {
    return Code<P.code_bits, g>(rows, codes);
  }
};

// Bytes between what is read and what is asked for: processors that fetch ahead by themselves stop
// at the end of each memory page.
constexpr int kFetchAhead = 4096;

// Calls fn(b, block) for each block of k columns of the panels that `rows` reads from `panel` on.
template <PanelFormat P, typename Rows, typename Fn>
TRANSMLA_INLINE void ForEachBlock(const Rows& rows, const uint8_t* panel, int64_t k, const Fn& fn) {
  using V = typename Rows::V;
  constexpr int kHeadBytes = P.head_bytes();
  constexpr int kHeadBlocks = P.head_blocks();
  constexpr int kScaleBytes = P.scale_bytes();
  constexpr int kCodeBytes = P.code_bytes();
  for (int64_t b = 0; b < k / kPanelBlock;) {
    const typename V::F scale = rows.Halves(panel);
    const typename V::F offset = P.affine ? rows.Halves(panel + 2 * kPanelRows) : scale;
    panel += kHeadBytes;
    for (int i = 0; i < kHeadBlocks; ++i, ++b) {
      for (int line = 0; line < kScaleBytes + kCodeBytes; line += kLineBytes) {
        rows.Fetch(panel + line, kFetchAhead);
      }
      PackedBlock<P, Rows> block{rows, panel + kScaleBytes};
      Unroll<0, P.parts>([&](auto p) __attribute__((always_inline)) {
        block.scale[p.value] = scale;
        if constexpr (P.nested) {
          const uint8_t* factors = panel + kPanelRows * p.value;
          block.scale[p.value] = V::Mul(scale, P.affine ? rows.U8(factors) : rows.I8(factors));
        }
      });
      block.offset = offset;
      if constexpr (P.affine && P.nested) {
        block.offset =
            V::Mul(offset, V::Mul(V::Set1(-1.0f), rows.U8(panel + kPanelRows * P.parts)));
      }
      panel = block.codes + kCodeBytes;
      fn(b, block);
    }
  }
}
template <PanelFormat P, typename Fn>
TRANSMLA_INLINE void ForEachBlock(const uint8_t* panel, int64_t k, const Fn& fn) {
  ForEachBlock<P>(OnePanel(panel, 0), panel, k, fn);
}

// --- tiles ---

// Tokens of a tile that are multiplied together: some of one group. kTokens are the whole tile's;
// if that is 0, their number is known at run time.
template <int kTokens>
struct TilePart {
  const uint8_t* tile;
  int group;  // its first token
  int first;
  int tokens;  // of the whole tile

  TRANSMLA_INLINE int Tokens() const { return kTokens == 0 ? tokens : kTokens; }
  TRANSMLA_INLINE int GroupTokens() const {
    if (kTokens != 0) return kTileGroup;
    const int rest = Tokens() - group;
    return rest < kTileGroup ? rest : kTileGroup;
  }
  TRANSMLA_INLINE TilePart From(int token) const { return {tile, group, first + token, tokens}; }
};

// Where the tokens of a part lie for 32 columns.
template <int kTokens>
struct TileBlock {
  const uint8_t* q;
  const uint8_t* scales;
  int row;  // bytes from the group's scales to its sums, and so on

  TRANSMLA_INLINE TileBlock(const TilePart<kTokens>& part, int64_t block)
      : row(4 * part.GroupTokens()) {
    const uint8_t* p = part.tile + block * (kTileBlockTokenBytes * part.Tokens());
    q = p + kTileBlock * part.first;
    scales = p + kTileBlock * part.Tokens() + 16 * part.group + 4 * (part.first - part.group);
  }
  // Columns 4 g to 4 g + 3.
  TRANSMLA_INLINE const uint8_t* Columns(int g, int t) const { return q + kTileBlock * t + 4 * g; }
  TRANSMLA_INLINE float Scale(int t) const { return FloatAt(scales + 4 * t); }
  TRANSMLA_INLINE float Sum(int t) const { return FloatAt(scales + row + 4 * t); }
  TRANSMLA_INLINE const uint8_t* MinusSum(int t) const { return scales + 2 * row + 4 * t; }
  TRANSMLA_INLINE const uint8_t* MinusFirst(int t) const { return scales + 3 * row + 4 * t; }
};

// fn(Number<T>, part, token) for the groups of all tiles.
template <int T, typename Fn>
TRANSMLA_INLINE void WithTokens(int tokens, const TilePart<0>& part, int token, const Fn& fn) {
  if constexpr (T == 1) {
    fn(Number<1>{}, part, token);
  } else {
    if (tokens == T) return fn(Number<T>{}, part, token);
    WithTokens<T - 1>(tokens, part, token, fn);
  }
}
// kTile: tokens of a full tile.
template <int kTile, typename Fn>
TRANSMLA_INLINE void ForEachTileGroup(const PanelDotArgs& a, const Fn& fn) {
  const int64_t token_bytes = a.k / kTileBlock * kTileBlockTokenBytes;
  int token = 0;
  for (; token + kTile <= a.tokens; token += kTile) {
    const uint8_t* tile = a.tiles + token_bytes * token;
    for (int first = 0; first < kTile; first += kTileGroup) {
      fn(Number<kTileGroup>{}, TilePart<kTile>{tile, first, first, kTile}, token + first);
    }
  }
  const int rest = a.tokens - token;
  const uint8_t* tile = a.tiles + token_bytes * token;
  for (int first = 0; first < rest; first += kTileGroup) {
    const TilePart<0> group{tile, first, first, rest};
    WithTokens<kTileGroup>(group.GroupTokens(), group, token + first, fn);
  }
}

// What a part's sum of code · q is too large by if codes are too large by kCentre, a power of two
// or 0; negative, for each lane the same.
template <typename V, PanelFormat P, int kCentre, int part, typename Tile>
TRANSMLA_INLINE typename V::I MinusCentre(const Tile& x, int t) {
  if constexpr (kCentre == 0) {
    return V::Zero32();
  } else {
    constexpr int kShift = __builtin_ctz(kCentre);
    typename V::I sum = V::Broadcast4(P.parts == 2 && part == 0 ? x.MinusFirst(t) : x.MinusSum(t));
    if constexpr (part == 1) sum = V::Sub32(sum, V::Broadcast4(x.MinusFirst(t)));
    return V::template ShiftLeft32<kShift>(sum);
  }
}

// Rounds 32 elements; writes them to `q`, and to `rest`, `stride` bytes apart, what
// activation_tiles.h puts behind them.
inline void QuantizeBlock(const float* x, uint8_t* q, uint8_t* rest, int stride) {
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
  const int32_t minus_first = -Lanes::Sum32(Lanes::Add32(rounded[0], rounded[1]));
  const int32_t minus_sum = minus_first - Lanes::Sum32(Lanes::Add32(rounded[2], rounded[3]));
  const float sum = scale * static_cast<float>(-minus_sum);
  __builtin_memcpy(rest, &scale, 4);
  __builtin_memcpy(rest + stride, &sum, 4);
  __builtin_memcpy(rest + 2 * stride, &minus_sum, 4);
  __builtin_memcpy(rest + 3 * stride, &minus_first, 4);
}

void QuantizeTile(const float* x, int64_t stride, int tokens, int64_t k, uint8_t* tile) {
  for (int t = 0; t < tokens; ++t) {
    uint8_t* out = tile;
    for (int64_t c = 0; c < k; c += kTileBlock, out += kTileBlockTokenBytes * tokens) {
      const int group = t / kTileGroup * kTileGroup;
      const int group_tokens = tokens - group < kTileGroup ? tokens - group : kTileGroup;
      QuantizeBlock(x + t * stride + c, out + kTileBlock * t,
                    out + kTileBlock * tokens + 16 * group + 4 * (t - group), 4 * group_tokens);
    }
  }
}

// --- results ---

// Stores lanes [row, row + V::kWidth) of a token, those that the matrix has.
template <typename V>
inline void StoreRows(const PanelDotArgs& a, int row, int token, typename V::F sum) {
  float* out = a.out + token * a.out_stride + row;
  const int rows = a.rows - row;
  if (rows >= V::kWidth) {
    if (a.bias != nullptr) sum = V::Add(sum, V::Load(a.bias + row));
    V::Store(out, a.accumulate ? V::Add(V::Load(out), sum) : sum);
    return;
  }
  float lanes[V::kWidth];
  V::Store(lanes, sum);
  for (int r = 0; r < rows; ++r) {
    const float biased = a.bias != nullptr ? lanes[r] + a.bias[row + r] : lanes[r];
    out[r] = a.accumulate ? out[r] + biased : biased;
  }
}

// Dots::template Run<P>(a) with the format of a.dtype.
template <typename Dots>
void WithPanelFormat(const PanelDotArgs& a) {
  switch (a.dtype) {
    case DType::kQ4_0:
      return Dots::template Run<kPanelQ4_0>(a);
    case DType::kQ4_1:
      return Dots::template Run<kPanelQ4_1>(a);
    case DType::kQ5_0:
      return Dots::template Run<kPanelQ5_0>(a);
    case DType::kQ5_1:
      return Dots::template Run<kPanelQ5_1>(a);
    case DType::kQ8_0:
      return Dots::template Run<kPanelQ8_0>(a);
    case DType::kQ4_K:
      return Dots::template Run<kPanelQ4_K>(a);
    case DType::kQ5_K:
      return Dots::template Run<kPanelQ5_K>(a);
    case DType::kQ6_K:
      return Dots::template Run<kPanelQ6_K>(a);
    default:
      return;  // never: weights of other types are not kept in panels
  }
}

}  // namespace
}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_PANEL_BLOCKS_INL_H_
