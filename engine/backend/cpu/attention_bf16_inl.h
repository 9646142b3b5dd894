// Attention over a BF16 cache in BF16 products, for processors whose AVX-512 multiplies pairs of
// them. Included, after vec_avx512.h and attention_kernels_inl.h, by the translation unit of that
// instruction set.
//
// Queries and weights are rounded to BF16 as keys and values are in the cache, as flash attention
// does on GPUs; products are exact and sums are 32-bit floats. A lane adds the two products of a
// pair at a time: of columns, ascending, for a score, of tokens 2 i and 2 i + 1, ascending, for a
// sum of values. As in attention_kernels_inl.h that does not depend on the number of rows.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_ATTENTION_BF16_INL_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_ATTENTION_BF16_INL_H_

#include <cstdint>
#include <type_traits>

#include <immintrin.h>

#include "engine/backend/cpu/attention_kernels_inl.h"
#include "engine/backend/cpu/bf16_pairs_inl.h"
#include "engine/backend/cpu/kernels.h"
#include "engine/backend/cpu/token_quads_inl.h"
#include "engine/base/page.h"

namespace transmla::cpu {
namespace {

// --- scores ---

// Columns of queries that are rounded at a time.
constexpr int kRoundedColumns = 256;

constexpr int kPairBytes = 2 * Bf16Elements::kBytes;

// Rounded elements of R rows of queries: pair i of row r at [r, i].
template <int R>
struct QueryPairs {
  alignas(64) int32_t at[R][kRoundedColumns / 2];

  QueryPairs(const ScoresArgs& a, int row, int col, int cols) {
    for (int r = 0; r < R; ++r) {
      const float* from = a.q + (row + r) * a.q_stride + col;
      for (int i = 0; i < cols; i += kPairElements) {
        _mm512_store_si512(&at[r][i / 2], RoundPairs(from + i, FirstOf32(cols - i)));
      }
    }
  }
};

// Adds the products of columns [col, col + cols) to the scores of R rows, which begin at `out`,
// with T · kWidth tokens.
template <int R, int T>
inline void ScoresOfTokens(const QueryPairs<R>& q, const Segment& s, int token, int col, int cols,
                           bool begin, bool fetch, float* out) {
  Vec::F acc[R][T];
#pragma GCC unroll 10
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
    for (int t = 0; t < T; ++t) {
      acc[r][t] = begin ? Vec::Zero() : Vec::Load(out + r * kPageTokens + t * Vec::kWidth);
    }
  }
  const int64_t begin_byte = col * Bf16Elements::kBytes;
  const int64_t bytes = cols * Bf16Elements::kBytes;
  ForEachQuad(
      bytes, [&](int64_t byte, auto loader) __attribute__((always_inline)) {
        if (fetch) FetchShare(s, token, T * Vec::kWidth, begin_byte, byte, bytes);
        __m512i keys[T][kQuad];
#pragma GCC unroll 2
        for (int t = 0; t < T; ++t) {
          LoadQuad(s.Row(token + t * Vec::kWidth) + begin_byte + byte, s.stride, loader, keys[t]);
        }
#pragma GCC unroll 4
        for (int i = 0; i < kQuad; ++i) {
#pragma GCC unroll 10
          for (int r = 0; r < R; ++r) {
            const __m512i factor = _mm512_set1_epi32(q.at[r][byte / kPairBytes + i]);
#pragma GCC unroll 2
            for (int t = 0; t < T; ++t) acc[r][t] = MultiplyPairs(acc[r][t], factor, keys[t][i]);
          }
        }
      });
#pragma GCC unroll 10
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
    for (int t = 0; t < T; ++t) {
      Vec::Store(out + r * kPageTokens + t * Vec::kWidth, acc[r][t]);
    }
  }
}

// Scores of R rows with all tokens.
template <int R>
__attribute__((noinline)) void ScoresOfRows(const ScoresArgs& a, const Segment& s, int row) {
  const bool fetch = row == 0 && s.next != s.data;
  for (int col = 0; col < s.cols; col += kRoundedColumns) {
    const int cols = s.cols - col < kRoundedColumns ? s.cols - col : kRoundedColumns;
    const QueryPairs<R> q(a, row, col, cols);
    const bool begin = !a.accumulate && col == 0;
    float* out = a.out + int64_t{row} * kPageTokens;
    ForEachTokenVectors<R>(a.tokens, [&](auto vectors, int token) {
      ScoresOfTokens<R, decltype(vectors)::value>(q, s, token, col, cols, begin, fetch,
                                                  out + token);
    });
  }
}

void ScoresBf16(const ScoresArgs& a) {
  if (a.keys.dtype != DType::kBF16) return Scores(a);
  ForEachSegment(a.keys, [&](auto, const Segment& s, int) {
    ForEachRowGroup<kRegisterRows>(
        a.rows, [&](auto rows, int row) { ScoresOfRows<decltype(rows)::value>(a, s, row); });
  });
}

// --- sums of values ---

constexpr int kTokenPairs = kPageTokens / 2;

// The weights of R rows, rounded: tokens 2 i and 2 i + 1 of row r at [r, i], those outside
// [begin, end) as zeros.
template <int R>
struct WeightPairs {
  alignas(64) int32_t at[R][kTokenPairs];

  WeightPairs(const WeightedSumArgs& a, int row) {
    const uint64_t seen = SummedTokens(a);
    for (int r = 0; r < R; ++r) {
      for (int i = 0; i < kTokenPairs; i += kPairs) {
        const __mmask32 mask = static_cast<__mmask32>(seen >> (2 * i));
        _mm512_store_si512(&at[r][i], RoundPairs(a.p + (row + r) * a.p_stride + 2 * i, mask));
      }
    }
  }
};

// Asks for the next tile's line of a column of two tokens.
inline void Fetch(const Segment& s, int token, int col) {
  s.Prefetch(token, col * Bf16Elements::kBytes);
  s.Prefetch(token + 1, col * Bf16Elements::kBytes);
}

// Calls multiply(i, low, high) for the pairs of tokens 2 i and 2 i + 1 that [begin, end) touches,
// where low and high point to the tokens' values from column `col`. What lies outside of the range
// may be anything, even NaN, and is replaced by zeros.
template <typename Fn>
inline void ForEachTokenPair(const WeightedSumArgs& a, const Segment& s, int col, Fn&& multiply) {
  alignas(64) static constexpr uint8_t kZeros[2 * kLineBytes] = {};
  const int64_t byte = col * Bf16Elements::kBytes;
  for (int i = a.begin / 2; 2 * i < a.end; ++i) {
    const uint8_t* low = 2 * i >= a.begin ? s.Row(2 * i) + byte : kZeros;
    const uint8_t* high = 2 * i + 1 < a.end ? s.Row(2 * i + 1) + byte : kZeros;
    multiply(i, low, high);
  }
}

// Columns [col, col + B · kPairElements) of R rows as far as the segment has them.
template <int R, int B>
inline void WeightedSumBlocks(const WeightedSumArgs& a, const Segment& s,
                              const WeightPairs<R>& weights, int row, int col) {
  float* const out = a.o + row * a.o_stride;
  const bool fetch = row == 0 && s.next != s.data;
  const __mmask32 mask = FirstOf32(s.cols - col - (B - 1) * kPairElements);  // of the last block
  const auto mask_of = [mask](int b) { return b + 1 < B ? ~__mmask32{0} : mask; };
  // Columns of a block in the order in which interleaving the halves of two rows leaves them:
  // quarters 0 and 2 of both vectors, then quarters 1 and 3.
  Vec::F acc[R][2 * B];
#pragma GCC unroll 10
  for (int r = 0; r < R; ++r) {
    const Vec::F alpha = Vec::Set1(a.alpha[row + r]);
#pragma GCC unroll 2
    for (int b = 0; b < B; ++b) {
      const float* p = out + r * a.o_stride + col + b * kPairElements;
      const Vec::F first =
          Vec::Mul(_mm512_maskz_loadu_ps(static_cast<__mmask16>(mask_of(b)), p), alpha);
      const Vec::F second = Vec::Mul(
          _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask_of(b) >> Vec::kWidth), p + Vec::kWidth),
          alpha);
      acc[r][2 * b] = _mm512_shuffle_f32x4(first, second, 0x88);
      acc[r][2 * b + 1] = _mm512_shuffle_f32x4(first, second, 0xDD);
    }
  }
  ForEachTokenPair(
      a, s,
      col, [&](int i, const uint8_t* low, const uint8_t* high) __attribute__((always_inline)) {
        __m512i values[2 * B];
#pragma GCC unroll 2
        for (int b = 0; b < B; ++b) {
          if (fetch) Fetch(s, 2 * i, col + b * kPairElements);
          const __m512i x = _mm512_maskz_loadu_epi16(mask_of(b), low + b * kLineBytes);
          const __m512i y = _mm512_maskz_loadu_epi16(mask_of(b), high + b * kLineBytes);
          values[2 * b] = _mm512_unpacklo_epi16(x, y);
          values[2 * b + 1] = _mm512_unpackhi_epi16(x, y);
        }
#pragma GCC unroll 10
        for (int r = 0; r < R; ++r) {
          const __m512i weight = _mm512_set1_epi32(weights.at[r][i]);
#pragma GCC unroll 4
          for (int v = 0; v < 2 * B; ++v) acc[r][v] = MultiplyPairs(acc[r][v], weight, values[v]);
        }
      });
#pragma GCC unroll 10
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
    for (int b = 0; b < B; ++b) {
      float* p = out + r * a.o_stride + col + b * kPairElements;
      const Vec::F low = _mm512_shuffle_f32x4(acc[r][2 * b], acc[r][2 * b + 1], 0x44);
      const Vec::F high = _mm512_shuffle_f32x4(acc[r][2 * b], acc[r][2 * b + 1], 0xEE);
      _mm512_mask_storeu_ps(p, static_cast<__mmask16>(mask_of(b)),
                            _mm512_shuffle_f32x4(low, low, 0xD8));
      _mm512_mask_storeu_ps(p + Vec::kWidth, static_cast<__mmask16>(mask_of(b) >> Vec::kWidth),
                            _mm512_shuffle_f32x4(high, high, 0xD8));
    }
  }
}

// At most kWidth columns from `col` to the end of the segment.
template <int R>
inline void WeightedSumLast(const WeightedSumArgs& a, const Segment& s,
                            const WeightPairs<R>& weights, int row, int col) {
  float* const out = a.o + row * a.o_stride;
  const bool fetch = row == 0 && s.next != s.data;
  const __mmask16 mask = static_cast<__mmask16>(FirstOf32(s.cols - col));
  alignas(64) static constexpr uint16_t kInterleave[kPairElements] = {
      0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
      8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  const __m512i interleave = _mm512_load_si512(kInterleave);
  Vec::F acc[R];
#pragma GCC unroll 10
  for (int r = 0; r < R; ++r) {
    acc[r] = Vec::Mul(_mm512_maskz_loadu_ps(mask, out + r * a.o_stride + col),
                      Vec::Set1(a.alpha[row + r]));
  }
  ForEachTokenPair(
      a, s,
      col, [&](int i, const uint8_t* low, const uint8_t* high) __attribute__((always_inline)) {
        if (fetch) Fetch(s, 2 * i, col);
        const __m512i both =
            _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_maskz_loadu_epi16(mask, low)),
                               _mm256_maskz_loadu_epi16(mask, high), 1);
        const __m512i values = _mm512_permutexvar_epi16(interleave, both);
#pragma GCC unroll 10
        for (int r = 0; r < R; ++r) {
          acc[r] = MultiplyPairs(acc[r], _mm512_set1_epi32(weights.at[r][i]), values);
        }
      });
#pragma GCC unroll 10
  for (int r = 0; r < R; ++r) {
    _mm512_mask_storeu_ps(out + r * a.o_stride + col, mask, acc[r]);
  }
}

void WeightedSumBf16(const WeightedSumArgs& a) {
  if (a.v.dtype != DType::kBF16) return WeightedSum(a);
  ForEachSegment(a.v, [&](auto, const Segment& s, int) {
    constexpr int kColumns = 2 * kPairElements;
    const int tiled = s.cols - s.cols % kColumns;
    if (tiled > 0) {
      ForEachRowGroup<kTileRows>(a.rows, [&](auto rows, int row) {
        const WeightPairs<decltype(rows)::value> weights(a, row);
        for (int col = 0; col < tiled; col += kColumns) {
          WeightedSumBlocks<decltype(rows)::value, 2>(a, s, weights, row, col);
        }
      });
    }
    if (tiled == s.cols) return;
    ForEachRowGroup<kRegisterRows>(a.rows, [&](auto rows, int row) {
      constexpr int kRows = decltype(rows)::value;
      const WeightPairs<kRows> weights(a, row);
      int col = tiled;
      for (; col + Vec::kWidth < s.cols; col += kPairElements) {
        WeightedSumBlocks<kRows, 1>(a, s, weights, row, col);
      }
      if (col < s.cols) WeightedSumLast<kRows>(a, s, weights, row, col);
    });
  });
}

}  // namespace
}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_ATTENTION_BF16_INL_H_
