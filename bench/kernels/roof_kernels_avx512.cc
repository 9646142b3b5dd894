// Compiled for AVX-512 F, BW, DQ and VL.
#include <immintrin.h>

#include "bench/kernels/roof_kernels.h"

namespace transmla {

uint64_t SumWordsAvx512(const uint64_t* words, int64_t count) {
  __m512i sums[8] = {};
  for (int64_t i = 0; i < count; i += 64) {
    for (int chain = 0; chain < 8; ++chain) {
      sums[chain] = _mm512_add_epi64(sums[chain], _mm512_loadu_si512(words + i + 8 * chain));
    }
  }
  uint64_t result = 0;
  for (const __m512i& sum : sums) {
    uint64_t lanes[8];
    _mm512_storeu_si512(lanes, sum);
    for (const uint64_t lane : lanes) result += lane;
  }
  return result;
}

float MultiplyF32Avx512(int64_t rounds) {
  // Chains begin differently, or the compiler would see that they are all the same.
  __m512 sums[kRoofChains];
  for (int chain = 0; chain < kRoofChains; ++chain) {
    sums[chain] = _mm512_set1_ps(static_cast<float>(chain));
  }
  const __m512 factor = _mm512_set1_ps(0.5f);
  do {
    for (int turn = 0; turn < kRoofTurns; ++turn) {
      for (__m512& sum : sums) sum = _mm512_fmadd_ps(sum, factor, factor);
    }
  } while (--rounds > 0);
  float result = 0;
  for (const __m512& sum : sums) result += _mm512_cvtss_f32(sum);
  return result;
}

}  // namespace transmla
