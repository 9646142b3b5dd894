// Lanes: the eight rows of a panel (panel_format.h) in AVX registers, for panel_blocks_inl.h.
// Included by the translation units of panels that have AVX2, which AVX-512's has too.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_LANES_AVX2_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_LANES_AVX2_H_

#include <cstdint>

#include <immintrin.h>

namespace transmla::cpu {
namespace {

struct Lanes {
  static constexpr int kWidth = 8;
  using I = __m256i;  // 32 bytes, 16 int16 or 8 int32
  using F = __m256;   // 8 floats

  static I LoadBytes(const uint8_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static void StoreBytes(uint8_t* p, I a) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a); }
  // The same four bytes in each 32 bits.
  static I Broadcast4(const uint8_t* p) {
    int32_t bytes;
    __builtin_memcpy(&bytes, p, sizeof(bytes));
    return _mm256_set1_epi32(bytes);
  }
  static I SetByte(int a) { return _mm256_set1_epi8(static_cast<char>(a)); }
  static I And(I a, I b) { return _mm256_and_si256(a, b); }
  static I Or(I a, I b) { return _mm256_or_si256(a, b); }
  static I Xor(I a, I b) { return _mm256_xor_si256(a, b); }
  static I SubBytes(I a, I b) { return _mm256_sub_epi8(a, b); }
  // Of 16-bit lanes: bits cross from byte to byte.
  template <int kBits>
  static I ShiftLeft(I a) {
    return _mm256_slli_epi16(a, kBits);
  }
  template <int kBits>
  static I ShiftRight(I a) {
    return _mm256_srli_epi16(a, kBits);
  }
  static I AbsBytes(I a) { return _mm256_abs_epi8(a); }
  // a, negated where b is negative, 0 where it is 0.
  static I SignBytes(I a, I b) { return _mm256_sign_epi8(a, b); }
  // Sums of two neighbouring products of unsigned with signed bytes, saturated to 16 bits.
  static I MulPairs(I u8, I s8) { return _mm256_maddubs_epi16(u8, s8); }
  // The compiler may not regroup such sums, as GCC 12 does: it would first make all products and
  // spill them.
  static I Add16(I a, I b) {
    I sum = _mm256_add_epi16(a, b);
    __asm__("" : "+x"(sum));
    return sum;
  }
  // Sums of two neighbouring 16-bit lanes.
  static I SumPairs(I a) { return _mm256_madd_epi16(a, _mm256_set1_epi16(1)); }
  static I Zero32() { return _mm256_setzero_si256(); }
  static I Add32(I a, I b) { return _mm256_add_epi32(a, b); }
  static I Sub32(I a, I b) { return _mm256_sub_epi32(a, b); }
  template <int kBits>
  static I ShiftLeft32(I a) {
    return _mm256_slli_epi32(a, kBits);
  }
  static F ToFloat(I a) { return _mm256_cvtepi32_ps(a); }

  static F Zero() { return _mm256_setzero_ps(); }
  static F Set1(float a) { return _mm256_set1_ps(a); }
  static F Load(const float* p) { return _mm256_loadu_ps(p); }
  static void Store(float* p, F a) { _mm256_storeu_ps(p, a); }
  static F Add(F a, F b) { return _mm256_add_ps(a, b); }
  static F Mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F Fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  static F MaxAbs(F max, F a) {
    return _mm256_max_ps(max, _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a));
  }
  static float ReduceMax(F a) {
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
  }
  // Eight numbers in half precision.
  static F LoadHalves(const uint8_t* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  // Eight bytes.
  static F LoadU8(const uint8_t* p) {
    return ToFloat(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
  }
  static F LoadI8(const uint8_t* p) {
    return ToFloat(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
  }
  // Rounded to the nearest whole number, of two the even one.
  static I Round(F a) { return _mm256_cvtps_epi32(a); }
  static int32_t Sum32(I a) {
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4E));
    return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xB1)));
  }
  // Stores the lanes of four vectors, in order, as 32 signed bytes.
  static void StoreBytes(uint8_t* p, I a, I b, I c, I d) {
    const __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
    StoreBytes(p, _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)));
  }
};

}  // namespace
}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_LANES_AVX2_H_
