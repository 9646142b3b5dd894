// The rows of one panel (panel_format.h) in half an AVX-512 register, and those of two panels in a
// whole one, for panel_dot_vnni_inl.h. Included by panels_avx512vnni.cc alone.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_LANES_AVX512VNNI_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_LANES_AVX512VNNI_H_

#include <cstdint>

#include <immintrin.h>

#include "engine/backend/cpu/lanes_avx2.h"

namespace transmla::cpu {
namespace {

struct VnniLanes : Lanes {
  // sum + Σ of four neighbouring products of unsigned with signed bytes, in each 32 bits.
  static I AddProducts(I sum, I u8, I s8) { return _mm256_dpbusd_epi32(sum, u8, s8); }
  static I Xor(I a, I b) { return _mm256_xor_si256(a, b); }
};

struct WideVnniLanes {
  static constexpr int kWidth = 16;
  using I = __m512i;  // 64 bytes or 16 int32
  using F = __m512;   // 16 floats

  static I LoadBytes(const uint8_t* p) { return _mm512_loadu_si512(p); }
  // The same four bytes in each 32 bits.
  static I Broadcast4(const uint8_t* p) {
    int32_t bytes;
    __builtin_memcpy(&bytes, p, sizeof(bytes));
    return _mm512_set1_epi32(bytes);
  }
  static I AddProducts(I sum, I u8, I s8) { return _mm512_dpbusd_epi32(sum, u8, s8); }
  static I Zero32() { return _mm512_setzero_si512(); }
  static I Sub32(I a, I b) { return _mm512_sub_epi32(a, b); }
  template <int kBits>
  static I ShiftLeft32(I a) {
    return _mm512_slli_epi32(a, kBits);
  }
  static F ToFloat(I a) { return _mm512_cvtepi32_ps(a); }

  static F Zero() { return _mm512_setzero_ps(); }
  static F Set1(float a) { return _mm512_set1_ps(a); }
  static F Load(const float* p) { return _mm512_loadu_ps(p); }
  static void Store(float* p, F a) { _mm512_storeu_ps(p, a); }
  static F Add(F a, F b) { return _mm512_add_ps(a, b); }
  static F Mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F Fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
};

// Two of WideVnniLanes' vectors, the first one's lanes first.
struct TwoWideVnniLanes {
  using One = WideVnniLanes;
  static constexpr int kWidth = 2 * One::kWidth;
  struct I {
    One::I first, second;
  };
  struct F {
    One::F first, second;
  };

  static I Broadcast4(const uint8_t* p) {
    const One::I bytes = One::Broadcast4(p);
    return {bytes, bytes};
  }
  static I AddProducts(const I& sum, const I& u8, const I& s8) {
    return {One::AddProducts(sum.first, u8.first, s8.first),
            One::AddProducts(sum.second, u8.second, s8.second)};
  }
  static I Zero32() { return {One::Zero32(), One::Zero32()}; }
  static I Sub32(const I& a, const I& b) {
    return {One::Sub32(a.first, b.first), One::Sub32(a.second, b.second)};
  }
  template <int kBits>
  static I ShiftLeft32(const I& a) {
    return {One::ShiftLeft32<kBits>(a.first), One::ShiftLeft32<kBits>(a.second)};
  }
  static F ToFloat(const I& a) { return {One::ToFloat(a.first), One::ToFloat(a.second)}; }

  static F Zero() { return {One::Zero(), One::Zero()}; }
  static F Set1(float a) { return {One::Set1(a), One::Set1(a)}; }
  static F Load(const float* p) { return {One::Load(p), One::Load(p + One::kWidth)}; }
  static void Store(float* p, const F& a) {
    One::Store(p, a.first);
    One::Store(p + One::kWidth, a.second);
  }
  static F Add(const F& a, const F& b) {
    return {One::Add(a.first, b.first), One::Add(a.second, b.second)};
  }
  static F Mul(const F& a, const F& b) {
    return {One::Mul(a.first, b.first), One::Mul(a.second, b.second)};
  }
  static F Fma(const F& a, const F& b, const F& c) {
    return {One::Fma(a.first, b.first, c.first), One::Fma(a.second, b.second, c.second)};
  }
};

}  // namespace
}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_LANES_AVX512VNNI_H_
