// Vec: sixteen floats in an AVX-512 register, for kernels_inl.h and block_decode_inl.h. Included by
// kernels_avx512.cc alone.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_VEC_AVX512_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_VEC_AVX512_H_

#include <cstdint>

#include <immintrin.h>

#include "engine/backend/cpu/vec_sse_reduce.h"

namespace transmla::cpu {
namespace {

struct Vec {
  using F = __m512;
  static constexpr int kWidth = 16;

  static F Zero() { return _mm512_setzero_ps(); }
  static F Set1(float a) { return _mm512_set1_ps(a); }
  static F Load(const float* p) { return _mm512_loadu_ps(p); }
  static void Store(float* p, F a) { _mm512_storeu_ps(p, a); }
  static __mmask16 Mask(int n) { return static_cast<__mmask16>((1u << n) - 1u); }
  // The first n lanes, n < kWidth; the others 0.
  static F LoadN(const float* p, int n) { return _mm512_maskz_loadu_ps(Mask(n), p); }
  static void StoreN(float* p, F a, int n) { _mm512_mask_storeu_ps(p, Mask(n), a); }
  static F Add(F a, F b) { return _mm512_add_ps(a, b); }
  static F Sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static F Mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F Div(F a, F b) { return _mm512_div_ps(a, b); }
  static F Fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  // The second operand where one is NaN.
  static F Max(F a, F b) { return _mm512_max_ps(a, b); }
  static F Min(F a, F b) { return _mm512_min_ps(a, b); }
  static F Round(F a) {
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  // a < b ? x : y, lane by lane.
  static F IfLess(F a, F b, F x, F y) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x);
  }
  // 2^n for whole n in [-126, 127].
  static F Pow2(F n) {
    return _mm512_castsi512_ps(
        _mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23));
  }
  // a · 2^n for whole n <= 127; 0, whatever a is, for n < -126, if kPow2Masks, else for n = -127.
  static constexpr bool kPow2Masks = true;
  static F MulPow2(F a, F n) {
    return _mm512_maskz_scalef_ps(_mm512_cmp_ps_mask(n, Set1(-126.0f), _CMP_NLT_UQ), a, n);
  }
  static __m128 Quarter(F a) {
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  }
  // The sums of the lanes of four vectors.
  static __m128 Reduce4(F a, F b, F c, F d) {
    return SumLanes4(Quarter(a), Quarter(b), Quarter(c), Quarter(d));
  }
  static float Reduce(F a) { return _mm_cvtss_f32(Reduce4(a, a, a, a)); }

  // The sums of the lanes of sixteen vectors, in order, each added up as Reduce4 does: the tree
  // halves the number of vectors at each of its four stages.
  static F Reduce16(const F (&acc)[16]) {
    F u[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      const F a = acc[LaneOfSlot(i)];
      const F b = acc[LaneOfSlot(i + 8)];
      u[i] = Add(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xEE));
    }
    F v[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      v[i] = Add(_mm512_shuffle_f32x4(u[i], u[i + 4], 0x88),
                 _mm512_shuffle_f32x4(u[i], u[i + 4], 0xDD));
    }
    F w[2];
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
      w[i] = Add(_mm512_shuffle_ps(v[i], v[i + 2], 0x44), _mm512_shuffle_ps(v[i], v[i + 2], 0xEE));
    }
    return Add(_mm512_shuffle_ps(w[0], w[1], 0x88), _mm512_shuffle_ps(w[0], w[1], 0xDD));
  }
  // The tree of Reduce16 leaves slot 4·b + p at block {0, 2, 1, 3}[b], place {0, 2, 1, 3}[p].
  static constexpr int LaneOfSlot(int slot) {
    return ((slot >> 2 & 1) << 1 | slot >> 3) << 2 | ((slot & 1) << 1 | (slot >> 1 & 1));
  }

  static float ReduceMax(F a) { return _mm512_reduce_max_ps(a); }

  // Exchanges rows and columns: lane j of m[i] and lane i of m[j].
  static void Transpose(F (&m)[16]) {
    F u[16];
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
      u[i] = _mm512_unpacklo_ps(m[i], m[i + 1]);
      u[i + 1] = _mm512_unpackhi_ps(m[i], m[i + 1]);
    }
    // v[4 g + c]: in each quarter q, lanes 4 q + c of rows 4 g to 4 g + 3.
    F v[16];
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {
      v[i] = _mm512_shuffle_ps(u[i], u[i + 2], 0x44);
      v[i + 1] = _mm512_shuffle_ps(u[i], u[i + 2], 0xEE);
      v[i + 2] = _mm512_shuffle_ps(u[i + 1], u[i + 3], 0x44);
      v[i + 3] = _mm512_shuffle_ps(u[i + 1], u[i + 3], 0xEE);
    }
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) {
      const F even_low = _mm512_shuffle_f32x4(v[c], v[c + 4], 0x88);  // quarters 0, 2 of rows 0-7
      const F odd_low = _mm512_shuffle_f32x4(v[c], v[c + 4], 0xDD);   // quarters 1, 3
      const F even_high = _mm512_shuffle_f32x4(v[c + 8], v[c + 12], 0x88);
      const F odd_high = _mm512_shuffle_f32x4(v[c + 8], v[c + 12], 0xDD);
      m[c] = _mm512_shuffle_f32x4(even_low, even_high, 0x88);
      m[c + 4] = _mm512_shuffle_f32x4(odd_low, odd_high, 0x88);
      m[c + 8] = _mm512_shuffle_f32x4(even_low, even_high, 0xDD);
      m[c + 12] = _mm512_shuffle_f32x4(odd_low, odd_high, 0xDD);
    }
  }

  // --- decoding: fn(i, v) takes vector i of a block, elements [i · kWidth, (i + 1) · kWidth) ---

  static F LoadF16(const uint8_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static F LoadBf16(const uint8_t* p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(
        _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))), 16));
  }
  // The first, then the second of a pair of BF16 in each lane.
  static F LowBf16(F pairs) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(pairs), 16));
  }
  static F HighBf16(F pairs) {
    return _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(pairs),
                                                _mm512_set1_epi32(static_cast<int>(0xFFFF0000u))));
  }

  static F FromI8(__m128i bytes) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes)); }
  // kWidth signed bytes.
  static F LoadI8(const int8_t* p) {
    return FromI8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }

  // Sixteen signed bytes times a scale, as vector `first`.
  template <typename Fn>
  static void EmitSigned(__m128i bytes, F scale, int first, Fn&& fn) {
    fn(first, Mul(FromI8(bytes), scale));
  }
  // Sixteen unsigned bytes times a scale plus an offset.
  template <typename Fn>
  static void EmitUnsigned(__m128i bytes, F scale, F offset, int first, Fn&& fn) {
    fn(first, Fma(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes)), scale, offset));
  }

  // The sixteen values that a nibble may mean: decoding is then one permutation.
  using NibbleTable = F;
  static F Nibbles() {
    return _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  }
  // q · scale + offset.
  static NibbleTable AffineNibbles(float scale, float offset) {
    return Fma(Nibbles(), Set1(scale), Set1(offset));
  }
  // (q - 8) · scale.
  static NibbleTable CentredNibbles(float scale) {
    return Mul(Sub(Nibbles(), Set1(8.0f)), Set1(scale));
  }
  // The low, then the high nibbles of sixteen bytes. The permutation reads the low four bits of
  // each index.
  template <typename Fn>
  static void EmitLow(__m128i q, NibbleTable table, int first, Fn&& fn) {
    fn(first, _mm512_permutexvar_ps(_mm512_cvtepu8_epi32(q), table));
  }
  template <typename Fn>
  static void EmitHigh(__m128i q, NibbleTable table, int first, Fn&& fn) {
    fn(first, _mm512_permutexvar_ps(_mm512_srli_epi32(_mm512_cvtepu8_epi32(q), 4), table));
  }
};

}  // namespace
}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_VEC_AVX512_H_
