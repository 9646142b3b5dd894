// Lanes: the eight rows of a panel (panel_format.h) in pairs of SSE registers, for
// panel_blocks_inl.h. Included by panels_generic.cc alone.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_LANES_GENERIC_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_LANES_GENERIC_H_

#include <cstdint>

#include <immintrin.h>

#include "engine/tensor/float_types.h"

namespace transmla::cpu {
namespace {

struct Lanes {
  static constexpr int kWidth = 8;
  struct I {
    __m128i low, high;
  };
  struct F {
    __m128 low, high;
  };

  static __m128i LoadHalf(const uint8_t* p) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  }
  static I LoadBytes(const uint8_t* p) { return {LoadHalf(p), LoadHalf(p + 16)}; }
  static void StoreBytes(uint8_t* p, I a) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), a.low);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 16), a.high);
  }
  // The same four bytes in each 32 bits.
  static I Broadcast4(const uint8_t* p) {
    int32_t bytes;
    __builtin_memcpy(&bytes, p, sizeof(bytes));
    const __m128i all = _mm_set1_epi32(bytes);
    return {all, all};
  }
  static I SetByte(int a) {
    const __m128i all = _mm_set1_epi8(static_cast<char>(a));
    return {all, all};
  }
  static I And(I a, I b) { return {_mm_and_si128(a.low, b.low), _mm_and_si128(a.high, b.high)}; }
  static I Or(I a, I b) { return {_mm_or_si128(a.low, b.low), _mm_or_si128(a.high, b.high)}; }
  // Of 16-bit lanes: bits cross from byte to byte.
  template <int kBits>
  static I ShiftLeft(I a) {
    return {_mm_slli_epi16(a.low, kBits), _mm_slli_epi16(a.high, kBits)};
  }
  template <int kBits>
  static I ShiftRight(I a) {
    return {_mm_srli_epi16(a.low, kBits), _mm_srli_epi16(a.high, kBits)};
  }
  static I AbsBytes(I a) { return {_mm_abs_epi8(a.low), _mm_abs_epi8(a.high)}; }
  // a, negated where b is negative, 0 where it is 0.
  static I SignBytes(I a, I b) {
    return {_mm_sign_epi8(a.low, b.low), _mm_sign_epi8(a.high, b.high)};
  }
  // Sums of two neighbouring products of unsigned with signed bytes, saturated to 16 bits.
  static I MulPairs(I u8, I s8) {
    return {_mm_maddubs_epi16(u8.low, s8.low), _mm_maddubs_epi16(u8.high, s8.high)};
  }
  // As in lanes_avx2.h: not regrouped.
  static I Add16(I a, I b) {
    I sum = {_mm_add_epi16(a.low, b.low), _mm_add_epi16(a.high, b.high)};
    __asm__("" : "+x"(sum.low), "+x"(sum.high));
    return sum;
  }
  // Sums of two neighbouring 16-bit lanes.
  static I SumPairs(I a) {
    const __m128i ones = _mm_set1_epi16(1);
    return {_mm_madd_epi16(a.low, ones), _mm_madd_epi16(a.high, ones)};
  }
  static I Zero32() { return {_mm_setzero_si128(), _mm_setzero_si128()}; }
  static I Add32(I a, I b) { return {_mm_add_epi32(a.low, b.low), _mm_add_epi32(a.high, b.high)}; }
  static I Sub32(I a, I b) { return {_mm_sub_epi32(a.low, b.low), _mm_sub_epi32(a.high, b.high)}; }
  template <int kBits>
  static I ShiftLeft32(I a) {
    return {_mm_slli_epi32(a.low, kBits), _mm_slli_epi32(a.high, kBits)};
  }
  static F ToFloat(I a) { return {_mm_cvtepi32_ps(a.low), _mm_cvtepi32_ps(a.high)}; }

  static F Zero() { return {_mm_setzero_ps(), _mm_setzero_ps()}; }
  static F Set1(float a) { return {_mm_set1_ps(a), _mm_set1_ps(a)}; }
  static F Load(const float* p) { return {_mm_loadu_ps(p), _mm_loadu_ps(p + 4)}; }
  static void Store(float* p, F a) {
    _mm_storeu_ps(p, a.low);
    _mm_storeu_ps(p + 4, a.high);
  }
  static F Add(F a, F b) { return {_mm_add_ps(a.low, b.low), _mm_add_ps(a.high, b.high)}; }
  static F Mul(F a, F b) { return {_mm_mul_ps(a.low, b.low), _mm_mul_ps(a.high, b.high)}; }
  // a · b + c; rounded twice, for want of a fused instruction.
  static F Fma(F a, F b, F c) { return Add(Mul(a, b), c); }
  static F MaxAbs(F max, F a) {
    const __m128 sign = _mm_set1_ps(-0.0f);
    return {_mm_max_ps(max.low, _mm_andnot_ps(sign, a.low)),
            _mm_max_ps(max.high, _mm_andnot_ps(sign, a.high))};
  }
  static float ReduceMax(F a) {
    __m128 m = _mm_max_ps(a.low, a.high);
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_shuffle_ps(m, m, 0x55)));
  }
  // Eight numbers in half precision.
  static F LoadHalves(const uint8_t* p) {
    float values[8];
    for (int i = 0; i < 8; ++i) {
      uint16_t bits;
      __builtin_memcpy(&bits, p + 2 * i, sizeof(bits));
      values[i] = F16ToFloat(bits);
    }
    return Load(values);
  }
  // Eight bytes.
  static F LoadU8(const uint8_t* p) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    return ToFloat({_mm_cvtepu8_epi32(bytes), _mm_cvtepu8_epi32(_mm_srli_si128(bytes, 4))});
  }
  static F LoadI8(const uint8_t* p) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    return ToFloat({_mm_cvtepi8_epi32(bytes), _mm_cvtepi8_epi32(_mm_srli_si128(bytes, 4))});
  }
  // Rounded to the nearest whole number, of two the even one.
  static I Round(F a) { return {_mm_cvtps_epi32(a.low), _mm_cvtps_epi32(a.high)}; }
  static int32_t Sum32(I a) {
    __m128i s = _mm_add_epi32(a.low, a.high);
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4E));
    return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xB1)));
  }
  // Stores the lanes of four vectors, in order, as 32 signed bytes.
  static void StoreBytes(uint8_t* p, I a, I b, I c, I d) {
    StoreBytes(p,
               {_mm_packs_epi16(_mm_packs_epi32(a.low, a.high), _mm_packs_epi32(b.low, b.high)),
                _mm_packs_epi16(_mm_packs_epi32(c.low, c.high), _mm_packs_epi32(d.low, d.high))});
  }
};

}  // namespace
}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_LANES_GENERIC_H_
