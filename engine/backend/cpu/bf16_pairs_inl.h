// Vectors of pairs of BF16, for attention_bf16_inl.h and dot_bf16_inl.h. Included, after
// vec_avx512.h, by the translation unit of AVX-512 BF16.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_BF16_PAIRS_INL_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_BF16_PAIRS_INL_H_

#include <cstdint>

#include <immintrin.h>

namespace transmla::cpu {
namespace {

constexpr int kPairs = Vec::kWidth;  // a vector holds so many pairs
constexpr int kPairElements = 2 * kPairs;

// The first n of kPairElements, all of them if there are more.
inline __mmask32 FirstOf32(int64_t n) {
  return static_cast<__mmask32>((uint64_t{1} << (n < kPairElements ? n : kPairElements)) - 1u);
}

// The floats that the mask names, rounded, and zeros: lane i holds elements 2 i and 2 i + 1.
inline __m512i RoundPairs(const float* p, __mmask32 mask) {
  const __m512 low = _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask), p);
  const __m512 high =
      _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask >> Vec::kWidth), p + Vec::kWidth);
  return (__m512i)_mm512_cvtne2ps_pbh(high, low);
}

// acc + both products of each pair, the first one's first, each rounded.
inline __m512 MultiplyPairs(__m512 acc, __m512i a, __m512i b) {
  return _mm512_dpbf16_ps(acc, (__m512bh)a, (__m512bh)b);
}

}  // namespace
}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_BF16_PAIRS_INL_H_
