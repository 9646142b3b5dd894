// The last stages that widths share of summing a vector's lanes and of finding the greatest.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_VEC_SSE_REDUCE_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_VEC_SSE_REDUCE_H_

#include <immintrin.h>

namespace transmla::cpu {
namespace {

// (v0 + v2) + (v1 + v3) of each of four vectors.
inline __m128 SumLanes4(__m128 a, __m128 b, __m128 c, __m128 d) {
  const __m128 ab =
      _mm_add_ps(_mm_shuffle_ps(a, b, 0x44), _mm_shuffle_ps(a, b, 0xEE));  // a02 a13 b02 b13
  const __m128 cd = _mm_add_ps(_mm_shuffle_ps(c, d, 0x44), _mm_shuffle_ps(c, d, 0xEE));
  return _mm_add_ps(_mm_shuffle_ps(ab, cd, 0x88), _mm_shuffle_ps(ab, cd, 0xDD));
}

inline float MaxLane(__m128 a) {
  const __m128 pairs = _mm_max_ps(a, _mm_movehl_ps(a, a));
  return _mm_cvtss_f32(_mm_max_ss(pairs, _mm_shuffle_ps(pairs, pairs, 1)));
}

}  // namespace
}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_VEC_SSE_REDUCE_H_
