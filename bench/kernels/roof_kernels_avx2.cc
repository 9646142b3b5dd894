// Compiled for AVX2, FMA and F16C.
#include <immintrin.h>

#include "bench/kernels/roof_kernels.h"

namespace transmla {

uint64_t SumWordsAvx2(const uint64_t* words, int64_t count) {
  __m256i sums[8] = {};
  for (int64_t i = 0; i < count; i += 32) {
    for (int chain = 0; chain < 8; ++chain) {
      const auto* const vector = reinterpret_cast<const __m256i*>(words + i) + chain;
      sums[chain] = _mm256_add_epi64(sums[chain], _mm256_loadu_si256(vector));
    }
  }
  uint64_t result = 0;
  for (const __m256i& sum : sums) {
    uint64_t lanes[4];
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(lanes), sum);
    result += lanes[0] + lanes[1] + lanes[2] + lanes[3];
  }
  return result;
}

float MultiplyF32Avx2(int64_t rounds) {
  // Chains begin differently, or the compiler would see that they are all the same.
  __m256 sums[kRoofChains];
  for (int chain = 0; chain < kRoofChains; ++chain) {
    sums[chain] = _mm256_set1_ps(static_cast<float>(chain));
  }
  const __m256 factor = _mm256_set1_ps(0.5f);
  do {
    for (int turn = 0; turn < kRoofTurns; ++turn) {
      for (__m256& sum : sums) sum = _mm256_fmadd_ps(sum, factor, factor);
    }
  } while (--rounds > 0);
  float result = 0;
  for (const __m256& sum : sums) result += _mm256_cvtss_f32(sum);
  return result;
}

float MultiplyI8Avx2(int64_t rounds) {
  __m256i sums[kRoofChains];
  for (int chain = 0; chain < kRoofChains; ++chain) sums[chain] = _mm256_set1_epi32(chain);
  const __m256i factor = _mm256_set1_epi8(3);
  const __m256i ones = _mm256_set1_epi16(1);
  do {
    // The sum itself is a factor: products of what does not change would leave the loop.
    for (int turn = 0; turn < kRoofTurns; ++turn) {
      for (__m256i& sum : sums) {
        const __m256i pairs = _mm256_maddubs_epi16(sum, factor);
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, ones));
      }
    }
  } while (--rounds > 0);
  int result = 0;
  for (const __m256i& sum : sums) result ^= _mm256_cvtsi256_si32(sum);
  return static_cast<float>(result);
}

}  // namespace transmla
