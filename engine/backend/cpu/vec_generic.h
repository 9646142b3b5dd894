// Vec: four floats in an SSE register, for kernels_inl.h. Included by kernels_generic.cc alone.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_VEC_GENERIC_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_VEC_GENERIC_H_

#include <cstdint>

#include <immintrin.h>

#include "engine/backend/cpu/vec_sse_reduce.h"
#include "engine/tensor/float_types.h"

namespace transmla::cpu {
namespace {

struct Vec {
  using F = __m128;
  static constexpr int kWidth = 4;

  static F Zero() { return _mm_setzero_ps(); }
  static F Set1(float a) { return _mm_set1_ps(a); }
  static F Load(const float* p) { return _mm_loadu_ps(p); }
  static void Store(float* p, F a) { _mm_storeu_ps(p, a); }
  // The first n lanes, n < kWidth; the others 0.
  static F LoadN(const float* p, int n) {
    float lanes[kWidth] = {};
    for (int i = 0; i < n; ++i) lanes[i] = p[i];
    return Load(lanes);
  }
  static void StoreN(float* p, F a, int n) {
    float lanes[kWidth];
    Store(lanes, a);
    for (int i = 0; i < n; ++i) p[i] = lanes[i];
  }
  static F Add(F a, F b) { return _mm_add_ps(a, b); }
  static F Sub(F a, F b) { return _mm_sub_ps(a, b); }
  static F Mul(F a, F b) { return _mm_mul_ps(a, b); }
  static F Div(F a, F b) { return _mm_div_ps(a, b); }
  // a · b + c; rounded twice, for want of a fused instruction.
  static F Fma(F a, F b, F c) { return _mm_add_ps(_mm_mul_ps(a, b), c); }
  // The second operand where one is NaN.
  static F Max(F a, F b) { return _mm_max_ps(a, b); }
  static F Min(F a, F b) { return _mm_min_ps(a, b); }
  static F Round(F a) { return _mm_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  // a < b ? x : y, lane by lane.
  static F IfLess(F a, F b, F x, F y) { return _mm_blendv_ps(y, x, _mm_cmplt_ps(a, b)); }
  // 2^n for whole n in [-126, 127], 0 for -127.
  static F Pow2(F n) {
    return _mm_castsi128_ps(
        _mm_slli_epi32(_mm_add_epi32(_mm_cvtps_epi32(n), _mm_set1_epi32(127)), 23));
  }
  // As in vec_avx512.h.
  static constexpr bool kPow2Masks = false;
  static F MulPow2(F a, F n) { return Mul(a, Pow2(n)); }
  // kWidth signed bytes.
  static F LoadI8(const int8_t* p) {
    int32_t bytes;
    __builtin_memcpy(&bytes, p, sizeof(bytes));
    return _mm_cvtepi32_ps(_mm_cvtepi8_epi32(_mm_cvtsi32_si128(bytes)));
  }
  static F LoadF16(const uint8_t* p) {
    uint16_t halves[kWidth];
    __builtin_memcpy(halves, p, sizeof(halves));
    return _mm_setr_ps(F16ToFloat(halves[0]), F16ToFloat(halves[1]), F16ToFloat(halves[2]),
                       F16ToFloat(halves[3]));
  }
  static F LoadBf16(const uint8_t* p) {
    return _mm_castsi128_ps(_mm_slli_epi32(
        _mm_cvtepu16_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))), 16));
  }
  // The first, then the second of a pair of BF16 in each lane.
  static F LowBf16(F pairs) {
    return _mm_castsi128_ps(_mm_slli_epi32(_mm_castps_si128(pairs), 16));
  }
  static F HighBf16(F pairs) {
    return _mm_castsi128_ps(
        _mm_and_si128(_mm_castps_si128(pairs), _mm_set1_epi32(static_cast<int>(0xFFFF0000u))));
  }
  static float ReduceMax(F a) { return MaxLane(a); }
  // Exchanges rows and columns: lane j of m[i] and lane i of m[j].
  static void Transpose(F (&m)[4]) { _MM_TRANSPOSE4_PS(m[0], m[1], m[2], m[3]); }
  // The sums of the lanes of four vectors.
  static __m128 Reduce4(F a, F b, F c, F d) { return SumLanes4(a, b, c, d); }
  static float Reduce(F a) { return _mm_cvtss_f32(Reduce4(a, a, a, a)); }
};

}  // namespace
}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_VEC_GENERIC_H_
