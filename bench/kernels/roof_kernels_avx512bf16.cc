// Compiled for AVX-512 F, BW, DQ, VL and BF16.
#include <immintrin.h>

#include "bench/kernels/roof_kernels.h"

namespace transmla {

float MultiplyBF16Avx512(int64_t rounds) {
  // Chains begin differently, or the compiler would see that they are all the same.
  __m512 sums[kRoofChains];
  for (int chain = 0; chain < kRoofChains; ++chain) {
    sums[chain] = _mm512_set1_ps(static_cast<float>(chain));
  }
  const __m512bh factor = _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.5f), _mm512_set1_ps(0.25f));
  do {
    for (int turn = 0; turn < kRoofTurns; ++turn) {
      for (__m512& sum : sums) sum = _mm512_dpbf16_ps(sum, factor, factor);
    }
  } while (--rounds > 0);
  float result = 0;
  for (const __m512& sum : sums) result += _mm512_cvtss_f32(sum);
  return result;
}

}  // namespace transmla
