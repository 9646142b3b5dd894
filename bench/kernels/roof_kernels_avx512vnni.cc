// Compiled for AVX-512 F, BW, DQ, VL and VNNI.
#include <immintrin.h>

#include "bench/kernels/roof_kernels.h"

namespace transmla {

float MultiplyI8Avx512Vnni(int64_t rounds) {
  // Chains begin differently, or the compiler would see that they are all the same.
  __m512i sums[kRoofChains];
  for (int chain = 0; chain < kRoofChains; ++chain) sums[chain] = _mm512_set1_epi32(chain);
  const __m512i factor = _mm512_set1_epi8(3);
  do {
    for (int turn = 0; turn < kRoofTurns; ++turn) {
      for (__m512i& sum : sums) sum = _mm512_dpbusd_epi32(sum, factor, factor);
    }
  } while (--rounds > 0);
  int result = 0;
  for (const __m512i& sum : sums) result ^= _mm512_cvtsi512_si32(sum);
  return static_cast<float>(result);
}

}  // namespace transmla
