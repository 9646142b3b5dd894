// Attention over a cache of 8-bit integers in integer products, for processors whose AVX-512 adds
// four byte products to 32 bits in one instruction (VNNI). Included, after vec_avx512.h and
// attention_kernels_inl.h, by the translation units of such processors.
//
// Queries are rounded as the cache rounds keys: each group of columns to 8 bits under one scale
// (engine/tensor/int8_group.h). A page's weights, times the scales of their values, are rounded to
// 255ths of the greatest of a row. Sums of products are exact, so that neither their order nor the
// number of rows matters; groups of scores are added in ascending order, as are pages of values.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_ATTENTION_INT8_INL_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_ATTENTION_INT8_INL_H_

#include <cstdint>

#include <immintrin.h>

#include "engine/backend/cpu/attention_kernels_inl.h"
#include "engine/backend/cpu/kernels.h"
#include "engine/backend/cpu/token_quads_inl.h"
#include "engine/base/page.h"

namespace transmla::cpu {
namespace {

constexpr int kCodes = 4;  // of one row or token in a lane

inline __m512i LoadInts(const void* p) { return _mm512_loadu_si512(p); }

// --- queries ---

// Where pack_int8_rows keeps a group's scales, what the rows' sums begin with, and their codes.
struct PackedGroup {
  int rows;
  float* scales;     // [rows]
  int32_t* centres;  // [rows]
  int32_t* codes;    // [columns / kCodes][rows]

  PackedGroup(void* group, int row_count)
      : rows(row_count),
        scales(static_cast<float*>(group)),
        centres(static_cast<int32_t*>(group) + rows),
        codes(static_cast<int32_t*>(group) + 2 * rows) {}
};

// n columns of a row, as QuantizeInt8Group rounds them. Keys become unsigned around 128, so that
// sums begin with -128 · Σ codes.
inline void PackInt8Row(const float* x, int n, const PackedGroup& to, int row) {
  const auto load = [&](int col) __attribute__((always_inline)) {
    return n - col < Vec::kWidth ? Vec::LoadN(x + col, n - col) : Vec::Load(x + col);
  };
  __m512i greatest = _mm512_setzero_si512();  // magnitudes are ordered as their bits are
  for (int col = 0; col < n; col += Vec::kWidth) {
    const __m512i bits = _mm512_castps_si512(load(col));
    greatest = _mm512_max_epu32(greatest, _mm512_and_si512(bits, _mm512_set1_epi32(0x7FFFFFFF)));
  }
  constexpr uint32_t kInfinityBits = 0x7F800000u;
  const uint32_t most = _mm512_reduce_max_epu32(greatest);
  float magnitude;
  __builtin_memcpy(&magnitude, &most, sizeof(magnitude));
  float scale = magnitude / 127.0f;
  const bool finite = most < kInfinityBits;
  const bool zero = !finite || scale < 0x1p-126f;
  if (zero) scale = finite ? 0.0f : __builtin_nanf("");
  const Vec::F divisor = Vec::Set1(zero ? 1.0f : scale);
  __m512i sum = _mm512_setzero_si512();
  for (int col = 0; col < n; col += Vec::kWidth) {
    const __m512i codes =
        zero ? _mm512_setzero_si512() : _mm512_cvtps_epi32(Vec::Div(load(col), divisor));
    sum = _mm512_add_epi32(sum, codes);
    alignas(16) int32_t packed[Vec::kWidth / kCodes];
    _mm_store_si128(reinterpret_cast<__m128i*>(packed), _mm512_cvtepi32_epi8(codes));
    for (int i = 0; i < Vec::kWidth / kCodes; ++i) {
      to.codes[(col / kCodes + i) * to.rows + row] = packed[i];
    }
  }
  to.scales[row] = scale;
  to.centres[row] = -128 * _mm512_reduce_add_epi32(sum);
}

void PackInt8Rows(const float* x, int64_t x_stride, int rows, int64_t cols, int group,
                  void* packed) {
  for (int64_t col = 0; col < cols; col += group) {
    const int n = static_cast<int>(group < cols - col ? group : cols - col);
    const PackedGroup to(packed, rows);
    for (int r = 0; r < rows; ++r) PackInt8Row(x + r * x_stride + col, n, to, r);
    packed = static_cast<uint8_t*>(packed) + PackedInt8GroupBytes(rows, n);
  }
}

// --- scores ---

// The scales of sixteen tokens of the segment.
inline Vec::F TokenScales(const Segment& s, int token) {
  const float* p = s.scales + token * s.scales_stride;
  if (s.scales_stride == 1) return Vec::Load(p);
  const __m512i index =
      _mm512_mullo_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                         _mm512_set1_epi32(static_cast<int>(s.scales_stride)));
  return _mm512_i32gather_ps(index, p, sizeof(float));
}

// Scores of R rows with T · kWidth tokens, to `out` or added to what is there.
template <int R, int T>
inline void Int8ScoresOfTokens(const PackedGroup& q, const Segment& s, int row, int token, bool add,
                               bool fetch, float* out) {
  const int32_t* codes = q.codes + row;
  __m512i acc[R][T];
#pragma GCC unroll 10
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
    for (int t = 0; t < T; ++t) acc[r][t] = _mm512_set1_epi32(q.centres[row + r]);
  }
  ForEachQuad(
      s.cols, [&](int64_t byte, auto loader) __attribute__((always_inline)) {
        if (fetch) FetchShare(s, token, T * Vec::kWidth, 0, byte, s.cols);
        __m512i keys[T][kQuad];
#pragma GCC unroll 2
        for (int t = 0; t < T; ++t) {
          LoadQuad(s.Row(token + t * Vec::kWidth) + byte, s.stride, loader, keys[t]);
#pragma GCC unroll 4
          for (int i = 0; i < kQuad; ++i) {
            keys[t][i] = _mm512_xor_si512(keys[t][i], _mm512_set1_epi8(static_cast<char>(0x80)));
          }
        }
#pragma GCC unroll 4
        for (int i = 0; i < kQuad; ++i, codes += q.rows) {
#pragma GCC unroll 10
          for (int r = 0; r < R; ++r) {
            const __m512i factor = _mm512_set1_epi32(codes[r]);
#pragma GCC unroll 2
            for (int t = 0; t < T; ++t)
              acc[r][t] = _mm512_dpbusd_epi32(acc[r][t], keys[t][i], factor);
          }
        }
      });
#pragma GCC unroll 2
  for (int t = 0; t < T; ++t) {
    const Vec::F scales = TokenScales(s, token + t * Vec::kWidth);
#pragma GCC unroll 10
    for (int r = 0; r < R; ++r) {
      float* to = out + r * kPageTokens + t * Vec::kWidth;
      const Vec::F factor = Vec::Mul(scales, Vec::Set1(q.scales[row + r]));
      const Vec::F sum = _mm512_cvtepi32_ps(acc[r][t]);
      Vec::Store(to, add ? Vec::Fma(sum, factor, Vec::Load(to)) : Vec::Mul(sum, factor));
    }
  }
}

template <int R>
__attribute__((noinline)) void Int8ScoresOfRows(const ScoresArgs& a, const PackedGroup& q,
                                                const Segment& s, int row, bool add) {
  const bool fetch = row == 0 && s.next != s.data;
  float* out = a.out + int64_t{row} * kPageTokens;
  ForEachTokenVectors<R>(a.tokens, [&](auto vectors, int token) {
    Int8ScoresOfTokens<R, decltype(vectors)::value>(q, s, row, token, add, fetch, out + token);
  });
}

// kOther: for keys that are no integers.
template <void (*kOther)(const ScoresArgs&)>
void ScoresInt8(const ScoresArgs& a) {
  if (a.keys.dtype != DType::kI8) return kOther(a);
  uint8_t* packed = static_cast<uint8_t*>(const_cast<void*>(a.packed));
  ForEachSegment(a.keys, [&](auto, const Segment& s, int first) {
    const PackedGroup q(packed, a.rows);
    ForEachRowGroup<kRegisterRows>(a.rows, [&](auto rows, int row) {
      Int8ScoresOfRows<decltype(rows)::value>(a, q, s, row, a.accumulate || first > 0);
    });
    packed += PackedInt8GroupBytes(a.rows, s.cols);
  });
}

// --- sums of values ---

// Rows whose weights are rounded at a time.
constexpr int kRoundedRows = 30;

// Weights of up to kRoundedRows rows, times their values' scales: codes of all tokens, 0 outside
// [begin, end), and by what a sum of codes and values is to be multiplied.
struct Int8Weights {
  alignas(64) uint8_t codes[kRoundedRows][kPageTokens];
  float factors[kRoundedRows];

  static constexpr int kVectors = kPageTokens / Vec::kWidth;

  Int8Weights(const WeightedSumArgs& a, const Vec::F (&scales)[kVectors], int row, int rows) {
    for (int r = 0; r < rows; ++r) {
      const float* p = a.p + (row + r) * a.p_stride;
      Vec::F weights[kVectors];
      Vec::F greatest = Vec::Zero();
      __mmask16 broken = 0;
#pragma GCC unroll 4
      for (int i = 0; i < kVectors; ++i) {
        weights[i] = Vec::Mul(Vec::Load(p + i * Vec::kWidth), scales[i]);
        greatest = Vec::Max(greatest, weights[i]);
        broken |= _mm512_cmp_ps_mask(weights[i], weights[i], _CMP_UNORD_Q);
      }
      // Below the least, whose reciprocal is still finite, weights weigh nothing.
      constexpr float kLeast = 1e-30f;
      const float most = Vec::ReduceMax(greatest);
      const float steps = most > kLeast ? 255.0f / most : 0.0f;
      // What is broken shows in the sums.
      factors[r] = broken != 0 ? __builtin_nanf("") : most > kLeast ? most / 255.0f : 0.0f;
      const Vec::F factor = Vec::Set1(steps);
#pragma GCC unroll 4
      for (int i = 0; i < kVectors; ++i) {
        _mm_store_si128(reinterpret_cast<__m128i*>(codes[r] + i * Vec::kWidth),
                        _mm512_cvtusepi32_epi8(_mm512_cvtps_epi32(Vec::Mul(weights[i], factor))));
      }
    }
  }

  // The codes of `tokens` tokens from kCodes · i of row r.
  const uint8_t* At(int r, int i) const { return codes[r] + kCodes * i; }
};

// The bytes of four tokens side by side: four vectors of tokens' bytes, of which out[k] holds, in
// quarter j, columns 4 k … 4 k + 3 of quarter j of the tokens.
inline void InterleaveTokens(__m512i t0, __m512i t1, __m512i t2, __m512i t3,
                             __m512i (&out)[kQuad]) {
  const __m512i a = _mm512_unpacklo_epi8(t0, t1);
  const __m512i b = _mm512_unpackhi_epi8(t0, t1);
  const __m512i c = _mm512_unpacklo_epi8(t2, t3);
  const __m512i d = _mm512_unpackhi_epi8(t2, t3);
  out[0] = _mm512_unpacklo_epi16(a, c);
  out[1] = _mm512_unpackhi_epi16(a, c);
  out[2] = _mm512_unpacklo_epi16(b, d);
  out[3] = _mm512_unpackhi_epi16(b, d);
}

// o · alpha + sum · factor of n columns from `o`.
inline void AddSum(__m512i sum, float factor, float alpha, int n, float* o) {
  const Vec::F scaled = Vec::Mul(_mm512_cvtepi32_ps(sum), Vec::Set1(factor));
  const Vec::F alphas = Vec::Set1(alpha);
  if (n >= Vec::kWidth) {
    Vec::Store(o, Vec::Fma(Vec::Load(o), alphas, scaled));
  } else {
    Vec::StoreN(o, Vec::Fma(Vec::LoadN(o, n), alphas, scaled), n);
  }
}

constexpr int kLineColumns = kLineBytes;

// The line of columns from `col` on of R rows, `row` of which is `first` of the weights'.
template <int R>
inline void Int8SumLine(const WeightedSumArgs& a, const Segment& s, const Int8Weights& weights,
                        int row, int first, int col, float* out) {
  const bool fetch = row == 0 && s.next != s.data;
  __m512i acc[R][kQuad];
#pragma GCC unroll 10
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int k = 0; k < kQuad; ++k) acc[r][k] = _mm512_setzero_si512();
  }
  for (int i = a.begin / kCodes; kCodes * i < a.end; ++i) {
    const int token = kCodes * i;
    if (fetch) {
#pragma GCC unroll 4
      for (int t = 0; t < kCodes; ++t) s.Prefetch(token + t, col);
    }
    __m512i values[kQuad];
    InterleaveTokens(LoadInts(s.Row(token) + col), LoadInts(s.Row(token + 1) + col),
                     LoadInts(s.Row(token + 2) + col), LoadInts(s.Row(token + 3) + col), values);
#pragma GCC unroll 10
    for (int r = 0; r < R; ++r) {
      int32_t codes;
      __builtin_memcpy(&codes, weights.At(first + r, i), sizeof(codes));
      const __m512i factor = _mm512_set1_epi32(codes);
#pragma GCC unroll 4
      for (int k = 0; k < kQuad; ++k) acc[r][k] = _mm512_dpbusd_epi32(acc[r][k], factor, values[k]);
    }
  }
#pragma GCC unroll 10
  for (int r = 0; r < R; ++r) {
    // Quarter j of sum k goes to quarter k of vector j.
    const __m512i a01 = _mm512_shuffle_i32x4(acc[r][0], acc[r][1], 0x44);
    const __m512i a23 = _mm512_shuffle_i32x4(acc[r][2], acc[r][3], 0x44);
    const __m512i b01 = _mm512_shuffle_i32x4(acc[r][0], acc[r][1], 0xEE);
    const __m512i b23 = _mm512_shuffle_i32x4(acc[r][2], acc[r][3], 0xEE);
    const __m512i sums[kQuad] = {
        _mm512_shuffle_i32x4(a01, a23, 0x88), _mm512_shuffle_i32x4(a01, a23, 0xDD),
        _mm512_shuffle_i32x4(b01, b23, 0x88), _mm512_shuffle_i32x4(b01, b23, 0xDD)};
    float* o = out + r * a.o_stride + col;
#pragma GCC unroll 4
    for (int j = 0; j < kQuad; ++j) {
      AddSum(sums[j], weights.factors[first + r], a.alpha[row + r], Vec::kWidth,
             o + j * Vec::kWidth);
    }
  }
}

// At most 4 · K columns from `col` on of R rows, sixteen tokens at a time: each quarter sums four.
template <int R, int K, typename Loader>
inline void Int8SumQuad(const WeightedSumArgs& a, const Segment& s, const Int8Weights& weights,
                        int row, int first, int col, int cols, Loader loader, float* out) {
  const bool fetch = row == 0 && s.next != s.data;
  const __m512i spread = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
  __m512i acc[R][K];
#pragma GCC unroll 10
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int k = 0; k < K; ++k) acc[r][k] = _mm512_setzero_si512();
  }
  for (int token = a.begin / Vec::kWidth * Vec::kWidth; token < a.end; token += Vec::kWidth) {
    if (fetch) {
      for (int t = 0; t < Vec::kWidth; ++t) s.Prefetch(token + t, col);
    }
    __m512 rows[kQuad];
    LoadQuarters(s.Row(token) + col, s.stride, loader, rows);
    __m512i values[kQuad];
    InterleaveTokens(_mm512_castps_si512(rows[0]), _mm512_castps_si512(rows[1]),
                     _mm512_castps_si512(rows[2]), _mm512_castps_si512(rows[3]), values);
#pragma GCC unroll 10
    for (int r = 0; r < R; ++r) {
      const __m128i codes =
          _mm_load_si128(reinterpret_cast<const __m128i*>(weights.At(first + r, token / kCodes)));
      const __m512i factor = _mm512_permutexvar_epi32(spread, _mm512_castsi128_si512(codes));
#pragma GCC unroll 4
      for (int k = 0; k < K; ++k) acc[r][k] = _mm512_dpbusd_epi32(acc[r][k], factor, values[k]);
    }
  }
#pragma GCC unroll 10
  for (int r = 0; r < R; ++r) {
    // The sum of the quarters of sum k goes to quarter k.
    __m512i halves[2] = {};
#pragma GCC unroll 2
    for (int k = 0; k < K; k += 2) {
      halves[k / 2] = _mm512_add_epi32(_mm512_shuffle_i32x4(acc[r][k], acc[r][k + 1], 0x88),
                                       _mm512_shuffle_i32x4(acc[r][k], acc[r][k + 1], 0xDD));
    }
    const __m512i sum = _mm512_add_epi32(_mm512_shuffle_i32x4(halves[0], halves[1], 0x88),
                                         _mm512_shuffle_i32x4(halves[0], halves[1], 0xDD));
    AddSum(sum, weights.factors[first + r], a.alpha[row + r], cols, out + r * a.o_stride + col);
  }
}

// Columns of rows [row, row + rows) of the segment, whose sums begin at `out`.
inline void Int8SumsOfRows(const WeightedSumArgs& a, const Segment& s, const Int8Weights& weights,
                           int row, int rows, float* out) {
  const int whole = s.cols - s.cols % kLineColumns;
  if (whole > 0) {
    ForEachRowGroup<kTileRows>(rows, [&](auto count, int first) {
      for (int col = 0; col < whole; col += kLineColumns) {
        Int8SumLine<decltype(count)::value>(a, s, weights, row + first, first, col,
                                            out + (row + first) * a.o_stride);
      }
    });
  }
  ForEachQuad(s.cols - whole, [&](int64_t byte, auto loader) {
    const int col = whole + static_cast<int>(byte);
    const int cols = s.cols - col < Vec::kWidth ? s.cols - col : Vec::kWidth;
    const auto run = [&](auto quads, auto count, int first) {
      Int8SumQuad<decltype(count)::value, decltype(quads)::value>(
          a, s, weights, row + first, first, col, cols, loader, out + (row + first) * a.o_stride);
    };
    constexpr int kHalf = kQuad / 2;
    if (cols <= kHalf * kCodes) {
      ForEachRowGroup<kRegisterRows>(rows, [&](auto count, int first) {
        run(std::integral_constant<int, kHalf>{}, count, first);
      });
    } else {
      ForEachRowGroup<kTileRows>(rows, [&](auto count, int first) {
        run(std::integral_constant<int, kQuad>{}, count, first);
      });
    }
  });
}

// Asks for the scales of the next tile.
inline void FetchScales(const Segment& s) {
  if (s.next == s.data) return;
  const uint8_t* scales = reinterpret_cast<const uint8_t*>(s.scales) + (s.next - s.data);
  const int64_t bytes = kPageTokens * s.scales_stride * static_cast<int64_t>(sizeof(float));
  for (int64_t byte = 0; byte < bytes; byte += kLineBytes) PrefetchFar(scales + byte);
}

// kOther: for values that are no integers.
template <void (*kOther)(const WeightedSumArgs&)>
void WeightedSumInt8(const WeightedSumArgs& a) {
  if (a.v.dtype != DType::kI8) return kOther(a);
  constexpr int kVectors = Int8Weights::kVectors;
  const uint64_t seen = SummedTokens(a);
  ForEachSegment(a.v, [&](auto, const Segment& s, int column) {
    if (column == 0) FetchScales(s);  // of all segments
    Vec::F scales[kVectors];
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) {
      scales[i] = _mm512_maskz_mov_ps(static_cast<__mmask16>(seen >> (i * Vec::kWidth)),
                                      TokenScales(s, i * Vec::kWidth));
    }
    for (int row = 0; row < a.rows; row += kRoundedRows) {
      const int rows = a.rows - row < kRoundedRows ? a.rows - row : kRoundedRows;
      const Int8Weights weights(a, scales, row, rows);
      Int8SumsOfRows(a, s, weights, row, rows, a.o + column);
    }
  });
}

// The table with these kernels for integers.
template <void (*kScores)(const ScoresArgs&), void (*kWeightedSum)(const WeightedSumArgs&)>
constexpr Kernels WithInt8Attention(Kernels kernels) {
  kernels.pack_int8_rows = PackInt8Rows;
  kernels.scores = ScoresInt8<kScores>;
  kernels.weighted_sum = WeightedSumInt8<kWeightedSum>;
  return kernels;
}

}  // namespace
}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_ATTENTION_INT8_INL_H_
