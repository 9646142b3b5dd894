// Dots with BF16 rows in BF16 products, for processors whose AVX-512 multiplies pairs of them.
// Included, after vec_avx512.h and kernels_inl.h, by the translation unit of that instruction set.
//
// Activations are rounded to BF16, as the weights are already; products are exact and sums are
// 32-bit floats. A lane adds the two products of a pair at a time, k ascending, and lanes are added
// up as in kernels_inl.h, so that a result does not depend on the tile that it was computed in.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_DOT_BF16_INL_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_DOT_BF16_INL_H_

#include <cstdint>

#include <immintrin.h>

#include "engine/backend/cpu/bf16_pairs_inl.h"
#include "engine/backend/cpu/kernels.h"
#include "engine/backend/cpu/kernels_inl.h"

namespace transmla::cpu {
namespace {

// Sums of a tile in registers: tokens times rows.
constexpr int kTileSums = 16;

// A tile of T tokens, rounded to `x`, with a row every `x_stride` pairs, and kTileSums / T rows; of
// fewer rows, the last one stands in for those that are missing.
template <int T>
inline void DotBf16Tile(const DotArgs& a, const int32_t* x, int64_t x_stride, int row, int token) {
  constexpr int R = kTileSums / T;
  const int rows = a.rows - row < R ? a.rows - row : R;
  const uint8_t* w[R];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
    w[r] = static_cast<const uint8_t*>(a.w) + (row + (r < rows ? r : rows - 1)) * a.w_stride;
  }
  Vec::F acc[kTileSums];
#pragma GCC unroll 16
  for (int i = 0; i < kTileSums; ++i) acc[i] = Vec::Zero();
  const auto step = [&](int64_t k, auto load) __attribute__((always_inline)) {
    __m512i tokens[T];
#pragma GCC unroll 4
    for (int t = 0; t < T; ++t) tokens[t] = _mm512_load_si512(x + t * x_stride + k / 2);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const __m512i weights = load(w[r] + 2 * k);
#pragma GCC unroll 4
      for (int t = 0; t < T; ++t)
        acc[t * R + r] = MultiplyPairs(acc[t * R + r], weights, tokens[t]);
    }
  };
  int64_t k = 0;
  for (; k + kPairElements <= a.k; k += kPairElements) {
    step(k, [](const uint8_t* p) { return _mm512_loadu_si512(p); });
  }
  if (k < a.k) {
    const __mmask32 mask = FirstOf32(a.k - k);
    step(k, [mask](const uint8_t* p) { return _mm512_maskz_loadu_epi16(mask, p); });
  }
  alignas(64) float sums[kTileSums];
  Vec::Store(sums, Vec::Reduce16(acc));
  for (int t = 0; t < T; ++t) {
    int r = 0;
    for (; r + 4 <= rows; r += 4) StoreDot4(a, row + r, token + t, _mm_load_ps(sums + t * R + r));
    for (; r < rows; ++r) StoreDot(a, row + r, token + t, sums[t * R + r]);
  }
}

// All rows for T tokens, which are rounded once.
template <int T>
inline void DotBf16Rows(const DotArgs& a, int token) {
  int32_t* const x = static_cast<int32_t*>(a.scratch);
  const int64_t x_stride = (a.k + kPairElements - 1) / kPairElements * kPairs;
  for (int t = 0; t < T; ++t) {
    const float* from = a.x + (token + t) * a.x_stride;
    for (int64_t k = 0; k < a.k; k += kPairElements) {
      _mm512_store_si512(x + t * x_stride + k / 2, RoundPairs(from + k, FirstOf32(a.k - k)));
    }
  }
  for (int row = 0; row < a.rows; row += kTileSums / T) DotBf16Tile<T>(a, x, x_stride, row, token);
}

void DotBf16(const DotArgs& a) {
  int token = 0;
  for (; token + 4 <= a.tokens; token += 4) DotBf16Rows<4>(a, token);
  for (; token + 2 <= a.tokens; token += 2) DotBf16Rows<2>(a, token);
  if (token < a.tokens) DotBf16Rows<1>(a, token);
}

}  // namespace
}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_DOT_BF16_INL_H_
