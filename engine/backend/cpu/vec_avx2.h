// Vec: eight floats in an AVX register, for kernels_inl.h and block_decode_inl.h. Included by
// kernels_avx2.cc alone.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_VEC_AVX2_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_VEC_AVX2_H_

#include <cstdint>

#include <immintrin.h>

#include "engine/backend/cpu/vec_sse_reduce.h"

namespace transmla::cpu {
namespace {

struct Vec {
  using F = __m256;
  static constexpr int kWidth = 8;

  static F Zero() { return _mm256_setzero_ps(); }
  static F Set1(float a) { return _mm256_set1_ps(a); }
  static F Load(const float* p) { return _mm256_loadu_ps(p); }
  static void Store(float* p, F a) { _mm256_storeu_ps(p, a); }
  static __m256i Mask(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  // The first n lanes, n < kWidth; the others 0.
  static F LoadN(const float* p, int n) { return _mm256_maskload_ps(p, Mask(n)); }
  static void StoreN(float* p, F a, int n) { _mm256_maskstore_ps(p, Mask(n), a); }
  static F Add(F a, F b) { return _mm256_add_ps(a, b); }
  static F Sub(F a, F b) { return _mm256_sub_ps(a, b); }
  static F Mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F Div(F a, F b) { return _mm256_div_ps(a, b); }
  static F Fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  // The second operand where one is NaN.
  static F Max(F a, F b) { return _mm256_max_ps(a, b); }
  static F Min(F a, F b) { return _mm256_min_ps(a, b); }
  static F Round(F a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  // a < b ? x : y, lane by lane.
  static F IfLess(F a, F b, F x, F y) {
    return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
  }
  // 2^n for whole n in [-126, 127], 0 for -127.
  static F Pow2(F n) {
    return _mm256_castsi256_ps(
        _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
  }
  // As in vec_avx512.h.
  static constexpr bool kPow2Masks = false;
  static F MulPow2(F a, F n) { return Mul(a, Pow2(n)); }
  static __m128 Half(F a) {
    return _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  }
  // The sums of the lanes of four vectors.
  static __m128 Reduce4(F a, F b, F c, F d) {
    return SumLanes4(Half(a), Half(b), Half(c), Half(d));
  }
  static float Reduce(F a) { return _mm_cvtss_f32(Reduce4(a, a, a, a)); }

  static float ReduceMax(F a) {
    return MaxLane(_mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1)));
  }

  // Exchanges rows and columns: lane j of m[i] and lane i of m[j].
  static void Transpose(F (&m)[8]) {
    F u[8];
#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 2) {
      u[i] = _mm256_unpacklo_ps(m[i], m[i + 1]);
      u[i + 1] = _mm256_unpackhi_ps(m[i], m[i + 1]);
    }
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) {
      // In each half h, lanes 4 h + c of four rows.
      const int i = c / 2;
      const F low = c % 2 == 0 ? _mm256_shuffle_ps(u[i], u[i + 2], 0x44)
                               : _mm256_shuffle_ps(u[i], u[i + 2], 0xEE);
      const F high = c % 2 == 0 ? _mm256_shuffle_ps(u[i + 4], u[i + 6], 0x44)
                                : _mm256_shuffle_ps(u[i + 4], u[i + 6], 0xEE);
      m[c] = _mm256_permute2f128_ps(low, high, 0x20);
      m[c + 4] = _mm256_permute2f128_ps(low, high, 0x31);
    }
  }

  // --- decoding: fn(i, v) takes vector i of a block, elements [i · kWidth, (i + 1) · kWidth) ---

  static F LoadF16(const uint8_t* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static F LoadBf16(const uint8_t* p) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(
        _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))), 16));
  }
  // The first, then the second of a pair of BF16 in each lane.
  static F LowBf16(F pairs) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(pairs), 16));
  }
  static F HighBf16(F pairs) {
    return _mm256_castsi256_ps(_mm256_and_si256(_mm256_castps_si256(pairs),
                                                _mm256_set1_epi32(static_cast<int>(0xFFFF0000u))));
  }
  static F FromI8(__m128i bytes) { return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)); }
  static F FromU8(__m128i bytes) { return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes)); }

  // kWidth signed bytes.
  static F LoadI8(const int8_t* p) {
    return FromI8(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  }

  // Sixteen signed bytes times a scale, as vectors from `first` on.
  template <typename Fn>
  static void EmitSigned(__m128i bytes, F scale, int first, Fn&& fn) {
    fn(first, Mul(FromI8(bytes), scale));
    fn(first + 1, Mul(FromI8(_mm_srli_si128(bytes, 8)), scale));
  }
  // Sixteen unsigned bytes times a scale plus an offset.
  template <typename Fn>
  static void EmitUnsigned(__m128i bytes, F scale, F offset, int first, Fn&& fn) {
    fn(first, Fma(FromU8(bytes), scale, offset));
    fn(first + 1, Fma(FromU8(_mm_srli_si128(bytes, 8)), scale, offset));
  }

  // The sixteen values that a nibble may mean.
  struct NibbleTable {
    F scale;
    F offset;
    bool centred;
  };
  // q · scale + offset.
  static NibbleTable AffineNibbles(float scale, float offset) {
    return {Set1(scale), Set1(offset), false};
  }
  // (q - 8) · scale.
  static NibbleTable CentredNibbles(float scale) { return {Set1(scale), Zero(), true}; }
  template <typename Fn>
  static void EmitNibbles(__m128i nibbles, const NibbleTable& table, int first, Fn&& fn) {
    if (table.centred) {
      EmitSigned(_mm_sub_epi8(nibbles, _mm_set1_epi8(8)), table.scale, first, fn);
    } else {
      EmitUnsigned(nibbles, table.scale, table.offset, first, fn);
    }
  }
  // The low, then the high nibbles of sixteen bytes.
  template <typename Fn>
  static void EmitLow(__m128i q, const NibbleTable& table, int first, Fn&& fn) {
    EmitNibbles(_mm_and_si128(q, _mm_set1_epi8(0x0F)), table, first, fn);
  }
  template <typename Fn>
  static void EmitHigh(__m128i q, const NibbleTable& table, int first, Fn&& fn) {
    EmitNibbles(_mm_and_si128(_mm_srli_epi16(q, 4), _mm_set1_epi8(0x0F)), table, first, fn);
  }
};

}  // namespace
}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_VEC_AVX2_H_
