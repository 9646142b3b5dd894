// The loops of attention of kernels.h over an abstract vector type, Vec. Included, after a Vec and
// kernels_inl.h, by the translation unit of one instruction set.
//
// Order of sums, whatever the type of the cache and the number of rows: a score adds its products
// one by one, columns ascending; a sum of values adds them one by one, tokens ascending. A lane
// holds one token's score or one column's sum, so nothing is ever summed across lanes, and rows are
// tiled as registers allow.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_ATTENTION_KERNELS_INL_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_ATTENTION_KERNELS_INL_H_

#include <cstdint>
#include <type_traits>

#include <immintrin.h>

#include "engine/backend/cpu/cache_line.h"
#include "engine/backend/cpu/kernels.h"
#include "engine/backend/cpu/kernels_inl.h"
#include "engine/base/page.h"

namespace transmla::cpu {
namespace {

static_assert(kPageTokens % Vec::kWidth == 0);

// Rows and vectors of a tile of sums in registers. Six times four sums, four operands and a
// broadcast fill AVX-512's thirty-two registers; six times two fit the sixteen of the others.
constexpr int kTileRows = 6;
constexpr int kTileVectors = Vec::kWidth == 16 ? 4 : 2;

// Rows of a tile that is one vector wide, with a block of kWidth vectors beside it.
constexpr int kRegisterRows = Vec::kWidth == 16 ? 10 : 4;

// --- elements of the cache: a vector of them, times a scale where the type has one ---

struct F32Elements {
  static constexpr int kBytes = 4;
  static Vec::F Load(const uint8_t* p, float) {
    return Vec::Load(reinterpret_cast<const float*>(p));
  }
};

struct F16Elements {
  static constexpr int kBytes = 2;
  static Vec::F Load(const uint8_t* p, float) { return Vec::LoadF16(p); }
};

struct Bf16Elements {
  static constexpr int kBytes = 2;
  static Vec::F Load(const uint8_t* p, float) { return Vec::LoadBf16(p); }
};

struct I8Elements {
  static constexpr int kBytes = 1;
  static Vec::F Load(const uint8_t* p, float scale) {
    return Vec::Mul(Vec::LoadI8(reinterpret_cast<const int8_t*>(p)), Vec::Set1(scale));
  }
};

// Into the second-level cache: a tile ahead is too early for the first, which it would flush.
inline void PrefetchFar(const void* p) {
  constexpr int kRead = 0;
  constexpr int kSecondLevel = 2;
  __builtin_prefetch(p, kRead, kSecondLevel);
}

// Columns of a tile that have one scale a token.
struct Segment {
  const uint8_t* data;  // [tokens, cols]
  const uint8_t* next;  // as CacheTile::next; `data` if there is none
  int64_t next_byte;    // as CacheTile::next_byte
  int64_t stride;       // bytes from token to token
  int cols;
  const float* scales;  // of the first token; not read where the type has none
  int64_t scales_stride;

  const uint8_t* Row(int token) const { return data + token * stride; }
  void Prefetch(int token, int64_t byte) const {
    if (byte >= next_byte) PrefetchFar(next + token * stride + byte);
  }
  template <typename E>
  float Scale(int token) const {
    return E::kBytes == 1 ? scales[token * scales_stride] : 1.0f;
  }
};

// Calls fn(E{}, segment, first column) for each segment of the tile.
template <typename Fn>
inline void ForEachSegment(const CacheTile& tile, Fn&& fn) {
  const uint8_t* data = static_cast<const uint8_t*>(tile.data);
  const uint8_t* next = tile.next == nullptr ? data : static_cast<const uint8_t*>(tile.next);
  if (tile.dtype != DType::kI8) {
    const Segment all{data, next, tile.next_byte, tile.stride, tile.cols, nullptr, 0};
    if (tile.dtype == DType::kF32) return fn(F32Elements{}, all, 0);
    if (tile.dtype == DType::kF16) return fn(F16Elements{}, all, 0);
    return fn(Bf16Elements{}, all, 0);
  }
  for (int col = 0; col < tile.cols; col += tile.group) {
    const int cols = tile.group < tile.cols - col ? tile.group : tile.cols - col;
    fn(I8Elements{},
       Segment{data + col, next + col, tile.next_byte - col, tile.stride, cols,
               tile.scales + col / tile.group, tile.scales_stride},
       col);
  }
}

// Columns [col, col + kWidth) of a token of the segment; all of it and zeros, for col 0, if it has
// fewer.
template <typename E>
inline Vec::F LoadColumns(const Segment& s, int token, int col) {
  const uint8_t* p = s.Row(token) + col * E::kBytes;
  const float scale = s.Scale<E>(token);
  if (s.cols >= Vec::kWidth) return E::Load(p, scale);
  uint8_t padded[Vec::kWidth * E::kBytes] = {};
  __builtin_memcpy(padded, p, static_cast<size_t>(s.cols) * E::kBytes);
  return E::Load(padded, scale);
}

// Calls fn(col) for vectors of columns that cover [0, cols): the last overlaps the one before.
template <typename Fn>
inline void ForEachOverlapping(int cols, int width, Fn&& fn) {
  int col = 0;
  for (; col + width <= cols; col += width) fn(col);
  if (col < cols) fn(cols > width ? cols - width : 0);
}

template <typename E>
inline void DecodeSegment(const Segment& s, int tokens, float* out, int64_t out_stride) {
  for (int t = 0; t < tokens; ++t) {
    float* to = out + t * out_stride;
    if (s.cols < Vec::kWidth) {
      Vec::StoreN(to, LoadColumns<E>(s, t, 0), s.cols);
      continue;
    }
    ForEachOverlapping(s.cols, Vec::kWidth,
                       [&](int col) { Vec::Store(to + col, LoadColumns<E>(s, t, col)); });
  }
}

void DecodeTile(const CacheTile& tile, int tokens, float* out, int64_t out_stride) {
  ForEachSegment(tile, [&](auto element, const Segment& s, int first) {
    DecodeSegment<decltype(element)>(s, tokens, out + first, out_stride);
  });
}

// --- rows ---

// Calls fn(rows, row) with groups of at most kMost rows, as even as they can be, `rows` as a
// constant: a lone last row would leave most of the multipliers idle.
template <int kMost, int R = 1, typename Fn>
inline void WithRows(int rows, int row, Fn&& fn) {
  if constexpr (R <= kMost) {
    if (rows == R) return fn(std::integral_constant<int, R>{}, row);
    WithRows<kMost, R + 1>(rows, row, fn);
  }
}
template <int kMost, typename Fn>
inline void ForEachRowGroup(int rows, Fn&& fn) {
  int groups = (rows + kMost - 1) / kMost;
  for (int row = 0; row < rows; --groups) {
    const int n = (rows - row + groups - 1) / groups;
    WithRows<kMost>(n, row, fn);
    row += n;
  }
}

// --- scores ---

// Columns of keys that are transposed at a time. With kPageTokens tokens they stay in the
// first-level cache until all rows have met them.
constexpr int kChunkColumns = 32;

// out[i, token] = column col + i of that token for tokens [token, token + kWidth) and the last
// kWidth - skip of kWidth columns.
template <typename E>
inline void TransposeBlock(const Segment& s, int token, int col, int skip, float* out) {
  Vec::F block[Vec::kWidth];
#pragma GCC unroll 16
  for (int i = 0; i < Vec::kWidth; ++i) block[i] = LoadColumns<E>(s, token + i, col);
  Vec::Transpose(block);
#pragma GCC unroll 16
  for (int i = 0; i < Vec::kWidth; ++i) {
    if (i >= skip) Vec::Store(out + (i - skip) * kPageTokens + token, block[i]);
  }
}

// Twice as many columns of BF16: lane j of block[i] holds columns col + 2 i and the next of token +
// j.
inline void LoadPairs(const Segment& s, int token, int col, Vec::F (&block)[Vec::kWidth]) {
  const uint8_t* p = s.Row(token) + col * Bf16Elements::kBytes;
#pragma GCC unroll 16
  for (int i = 0; i < Vec::kWidth; ++i, p += s.stride) {
    block[i] = Vec::Load(reinterpret_cast<const float*>(p));
  }
  Vec::Transpose(block);
}

// As TransposeBlock, of pairs.
__attribute__((noinline)) void TransposePairs(const Segment& s, int token, int col, float* out) {
  Vec::F block[Vec::kWidth];
  LoadPairs(s, token, col, block);
#pragma GCC unroll 16
  for (int i = 0; i < Vec::kWidth; ++i) {
    Vec::Store(out + 2 * i * kPageTokens + token, Vec::LowBf16(block[i]));
    Vec::Store(out + (2 * i + 1) * kPageTokens + token, Vec::HighBf16(block[i]));
  }
}

// Columns [first, first + cols) as [kChunkColumns, kPageTokens], up to a whole vector of tokens;
// fewer than a vector only at the end of the segment.
template <typename E>
inline void TransposeChunk(const Segment& s, int tokens, int first, int cols, float* out) {
  for (int token = 0; token < tokens; token += Vec::kWidth) {
    for (int i = 0; i < Vec::kWidth; ++i) {
      for (int byte = 0; byte < cols * E::kBytes; byte += kLineBytes) {
        s.Prefetch(token + i, first * E::kBytes + byte);
      }
    }
    int col = 0;
    if constexpr (std::is_same_v<E, Bf16Elements>) {
      for (; col + 2 * Vec::kWidth <= cols; col += 2 * Vec::kWidth) {
        TransposePairs(s, token, first + col, out + col * kPageTokens);
      }
    }
    for (; col + Vec::kWidth <= cols; col += Vec::kWidth) {
      TransposeBlock<E>(s, token, first + col, 0, out + col * kPageTokens);
    }
    if (col == cols) continue;
    const int skip = s.cols < Vec::kWidth ? 0 : Vec::kWidth - (cols - col);
    TransposeBlock<E>(s, token, first + col - skip, skip, out + col * kPageTokens);
  }
}

// Adds the products with `cols` columns of keys to the scores of R rows and tokens [token, token +
// C · kWidth); `keys` and `out` point to the first of these.
template <int R, int C>
inline void ScoresTile(const float* q, int64_t q_stride, const float* keys, int cols, bool begin,
                       float* out) {
  Vec::F acc[R * C];
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) {
      acc[r * C + c] = begin ? Vec::Zero() : Vec::Load(out + r * kPageTokens + c * Vec::kWidth);
    }
  }
  for (int k = 0; k < cols; ++k, ++q, keys += kPageTokens) {
    Vec::F key[C];
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) key[c] = Vec::Load(keys + c * Vec::kWidth);
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) {
      const Vec::F factor = Vec::Set1(q[r * q_stride]);
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) acc[r * C + c] = Vec::Fma(factor, key[c], acc[r * C + c]);
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) {
      Vec::Store(out + r * kPageTokens + c * Vec::kWidth, acc[r * C + c]);
    }
  }
}

// Up to how many rows it pays to transpose keys anew for each group of kRegisterRows: always, if
// groups are large.
constexpr int kMostRegisterRows = Vec::kWidth == 16 ? 1 << 30 : 8;

// Scores of R rows, keys going through registers alone; whole pairs of vectors of BF16.
template <int R>
__attribute__((noinline)) void RegisterScores(const ScoresArgs& a, const Segment& s, int row) {
  for (int token = 0; token < a.tokens; token += Vec::kWidth) {
    float* out = a.out + int64_t{row} * kPageTokens + token;
    Vec::F acc[R];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      acc[r] = a.accumulate ? Vec::Load(out + r * kPageTokens) : Vec::Zero();
    }
    for (int col = 0; col < s.cols; col += 2 * Vec::kWidth) {
      for (int i = 0; i < Vec::kWidth; ++i) {
        s.Prefetch(token + i, col * Bf16Elements::kBytes);
      }
      Vec::F block[Vec::kWidth];
      LoadPairs(s, token, col, block);
      const float* q = a.q + row * a.q_stride + col;
#pragma GCC unroll 16
      for (int i = 0; i < Vec::kWidth; ++i) {
        const Vec::F low = Vec::LowBf16(block[i]);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
          acc[r] = Vec::Fma(Vec::Set1(q[r * a.q_stride + 2 * i]), low, acc[r]);
        }
        const Vec::F high = Vec::HighBf16(block[i]);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
          acc[r] = Vec::Fma(Vec::Set1(q[r * a.q_stride + 2 * i + 1]), high, acc[r]);
        }
      }
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) Vec::Store(out + r * kPageTokens, acc[r]);
  }
}

void Scores(const ScoresArgs& a) {
  if (a.keys.dtype == DType::kBF16 && a.rows <= kMostRegisterRows &&
      a.keys.cols % (2 * Vec::kWidth) == 0) {
    return ForEachSegment(a.keys, [&](auto, const Segment& s, int) {
      ForEachRowGroup<kRegisterRows>(
          a.rows, [&](auto rows, int row) { RegisterScores<decltype(rows)::value>(a, s, row); });
    });
  }
  alignas(64) float keys[kChunkColumns * kPageTokens];
  ForEachSegment(a.keys, [&](auto element, const Segment& s, int segment) {
    for (int first = 0; first < s.cols; first += kChunkColumns) {
      const int cols = s.cols - first < kChunkColumns ? s.cols - first : kChunkColumns;
      TransposeChunk<decltype(element)>(s, a.tokens, first, cols, keys);
      const bool begin = !a.accumulate && segment + first == 0;
      ForEachRowGroup<kTileRows>(a.rows, [&](auto rows, int row) {
        constexpr int kRows = decltype(rows)::value;
        constexpr int kTokens = kTileVectors * Vec::kWidth;
        const float* q = a.q + row * a.q_stride + segment + first;
        float* out = a.out + int64_t{row} * kPageTokens;
        int token = 0;
        for (; token + kTokens <= a.tokens; token += kTokens) {
          ScoresTile<kRows, kTileVectors>(q, a.q_stride, keys + token, cols, begin, out + token);
        }
        for (; token < a.tokens; token += Vec::kWidth) {
          ScoresTile<kRows, 1>(q, a.q_stride, keys + token, cols, begin, out + token);
        }
      });
    }
  });
}

// --- softmax ---

// 2^t of what is not above 0, within 3 units in the last place; results below 2^-126 are 0.
//
// 2^t = 2^n · 2^f, n = round(t), |f| <= 1/2; 2^f by the polynomial of degree 5 with p(0) = 1 whose
// greatest relative error, 9.2e-8, is least.
inline Vec::F Exp2Negative(Vec::F t) {
  if constexpr (!Vec::kPow2Masks) t = Vec::Max(Vec::Set1(-127.0f), t);
  const Vec::F n = Vec::Round(t);
  const Vec::F f = Vec::Sub(t, n);
  Vec::F p = Vec::Set1(0.001326472731307149f);
  p = Vec::Fma(p, f, Vec::Set1(0.009671512991189957f));
  p = Vec::Fma(p, f, Vec::Set1(0.05550733581185341f));
  p = Vec::Fma(p, f, Vec::Set1(0.24022242426872253f));
  p = Vec::Fma(p, f, Vec::Set1(0.6931470036506653f));
  p = Vec::Fma(p, f, Vec::Set1(1.0f));
  return Vec::MulPow2(p, n);
}

constexpr float kLog2E = 1.44269504088896341f;

// The greatest of a row's scores, NaN aside.
inline float Greatest(const float* scores) {
  Vec::F greatest = Vec::Set1(-kInfinity);
#pragma GCC unroll 16
  for (int i = 0; i < kPageTokens; i += Vec::kWidth) {
    greatest = Vec::Max(Vec::Load(scores + i), greatest);
  }
  return Vec::ReduceMax(greatest);
}

// scores → 2^((scores - base) · factor). Returns their sum.
inline float Exp2Row(float base, float factor, float* scores) {
  const Vec::F bases = Vec::Set1(base);
  const Vec::F factors = Vec::Set1(factor);
  Vec::F sum = Vec::Zero();
#pragma GCC unroll 16
  for (int i = 0; i < kPageTokens; i += Vec::kWidth) {
    const Vec::F e = Exp2Negative(Vec::Mul(Vec::Sub(Vec::Load(scores + i), bases), factors));
    Vec::Store(scores + i, e);
    sum = Vec::Add(sum, e);
  }
  return Vec::Reduce(sum);
}

void SoftmaxTile(const SoftmaxArgs& a) {
  // In two rounds: a row would wait for its own maximum, which is across lanes.
  for (int r = 0; r < a.rows; ++r) {
    float* scores = a.scores + r * kPageTokens;
    for (int j = 0; j < a.begin; ++j) scores[j] = -kInfinity;
    for (int j = a.end; j < kPageTokens; ++j) scores[j] = -kInfinity;
    const float max = Greatest(scores);
    a.alpha[r] = a.state[r].max;
    if (max > a.state[r].max) a.state[r].max = max;
  }
  for (int r = 0; r < a.rows; ++r) {
    SoftmaxState& state = a.state[r];
    // Without any finite score there is nothing to subtract: all become exp(-∞) = 0.
    const float base = state.max == -kInfinity ? 0.0f : state.max;
    const float factor = a.scale * kLog2E;
    const float sum = Exp2Row(base, factor, a.scores + r * kPageTokens);
    // exp(0) is 1: most tiles of a long context have no new maximum.
    const float before = a.alpha[r];
    float alpha = 1.0f;
    if (before != base) {
      float lanes[Vec::kWidth];
      Vec::Store(lanes, Exp2Negative(Vec::Set1((before - base) * factor)));
      alpha = lanes[0];
    }
    a.alpha[r] = alpha;
    state.sum = state.sum * alpha + sum;
  }
}

void AddScaled(float a, float b, const float* from, int64_t n, float* to) {
  const Vec::F first = Vec::Set1(a);
  const Vec::F second = Vec::Set1(b);
  int64_t i = 0;
  for (; i + Vec::kWidth <= n; i += Vec::kWidth) {
    const Vec::F scaled = Vec::Mul(Vec::Load(from + i), second);
    Vec::Store(to + i, Vec::Fma(Vec::Load(to + i), first, scaled));
  }
  if (const int rest = static_cast<int>(n - i); rest > 0) {
    const Vec::F scaled = Vec::Mul(Vec::LoadN(from + i, rest), second);
    Vec::StoreN(to + i, Vec::Fma(Vec::LoadN(to + i, rest), first, scaled), rest);
  }
}

// --- sums of values ---

// Bit j: token j is in [begin, end).
inline uint64_t SummedTokens(const WeightedSumArgs& a) {
  return (~uint64_t{0} >> (kPageTokens - a.end)) & (~uint64_t{0} << a.begin);
}

// acc[r, c] += Σ_j p[row + r, j] · load(j, c).
template <int R, int C, typename Fn>
inline void AddValues(const WeightedSumArgs& a, int row, Vec::F (&acc)[R * C], Fn&& load) {
  const float* p = a.p + row * a.p_stride;
  for (int j = a.begin; j < a.end; ++j) {
    Vec::F values[C];
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) values[c] = load(j, c);
#pragma GCC unroll 10
    for (int r = 0; r < R; ++r) {
      const Vec::F weight = Vec::Set1(p[r * a.p_stride + j]);
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) acc[r * C + c] = Vec::Fma(weight, values[c], acc[r * C + c]);
    }
  }
}

// Columns [col, col + C · kWidth) of R rows; `out` is the first row's sums of the segment.
template <typename E, int R, int C>
inline void WeightedSumTile(const WeightedSumArgs& a, const Segment& s, int row, int col,
                            float* out) {
  Vec::F acc[R * C];
#pragma GCC unroll 10
  for (int r = 0; r < R; ++r) {
    const Vec::F alpha = Vec::Set1(a.alpha[row + r]);
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) {
      acc[r * C + c] = Vec::Mul(Vec::Load(out + r * a.o_stride + col + c * Vec::kWidth), alpha);
    }
  }
  AddValues<R, C>(
      a, row, acc, [&](int j, int c) __attribute__((always_inline)) {
        const int64_t byte = (col + c * Vec::kWidth) * E::kBytes;
        if (c * Vec::kWidth * E::kBytes % kLineBytes == 0) s.Prefetch(j, byte);
        return E::Load(s.Row(j) + byte, s.Scale<E>(j));
      });
#pragma GCC unroll 10
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) {
      Vec::Store(out + r * a.o_stride + col + c * Vec::kWidth, acc[r * C + c]);
    }
  }
}

// The last `rest` columns, fewer than a vector has. It overlaps columns whose sums are stored
// already; theirs come out wrong and are not stored again.
template <typename E, int R>
inline void WeightedSumRest(const WeightedSumArgs& a, const Segment& s, int row, int rest,
                            float* out) {
  const int col = s.cols > Vec::kWidth ? s.cols - Vec::kWidth : 0;
  Vec::F acc[R];
#pragma GCC unroll 10
  for (int r = 0; r < R; ++r) {
    const float* o = out + r * a.o_stride + col;
    acc[r] = Vec::Mul(s.cols < Vec::kWidth ? Vec::LoadN(o, rest) : Vec::Load(o),
                      Vec::Set1(a.alpha[row + r]));
  }
  AddValues<R, 1>(a, row, acc, [&](int j, int) { return LoadColumns<E>(s, j, col); });
#pragma GCC unroll 10
  for (int r = 0; r < R; ++r) {
    float lanes[Vec::kWidth];
    Vec::Store(lanes, acc[r]);
    const int first = s.cols - rest;
    for (int i = 0; i < rest; ++i) out[r * a.o_stride + first + i] = lanes[first - col + i];
  }
}

template <typename E>
inline void WeightedSumSegment(const WeightedSumArgs& a, const Segment& s, float* out) {
  constexpr int kColumns = kTileVectors * Vec::kWidth;
  const int tiled = s.cols - s.cols % kColumns;
  ForEachRowGroup<kTileRows>(a.rows, [&](auto rows, int row) {
    for (int col = 0; col < tiled; col += kColumns) {
      WeightedSumTile<E, decltype(rows)::value, kTileVectors>(a, s, row, col,
                                                              out + row * a.o_stride);
    }
  });
  if (tiled == s.cols) return;
  ForEachRowGroup<kRegisterRows>(a.rows, [&](auto rows, int row) {
    constexpr int kRows = decltype(rows)::value;
    float* to = out + row * a.o_stride;
    int col = tiled;
    for (; col + Vec::kWidth <= s.cols; col += Vec::kWidth) {
      WeightedSumTile<E, kRows, 1>(a, s, row, col, to);
    }
    if (col < s.cols) WeightedSumRest<E, kRows>(a, s, row, s.cols - col, to);
  });
}

void WeightedSum(const WeightedSumArgs& a) {
  ForEachSegment(a.v, [&](auto element, const Segment& s, int first) {
    WeightedSumSegment<decltype(element)>(a, s, a.o + first);
  });
}

}  // namespace
}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_ATTENTION_KERNELS_INL_H_
