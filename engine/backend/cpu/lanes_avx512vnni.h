// The rows of one panel (panel_format.h) in half an AVX-512 register, and those of two panels in a
// whole one, for panel_dot_vnni_inl.h. Included by the
// translation units of panels that have AVX-512 VNNI.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_LANES_AVX512VNNI_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_LANES_AVX512VNNI_H_

#include <cstdint>

#include <immintrin.h>

#include "engine/backend/cpu/activation_tiles.h"
#include "engine/backend/cpu/lanes_avx2.h"

namespace transmla::cpu {
namespace {

struct VnniLanes : Lanes {
  // sum + Σ of four neighbouring products of unsigned with signed bytes, in each 32 bits.
  static I AddProducts(I sum, I u8, I s8) { return _mm256_dpbusd_epi32(sum, u8, s8); }
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
  static I Load32(const int32_t* p) { return _mm512_loadu_si512(p); }
  static I Add32(I a, I b) { return _mm512_add_epi32(a, b); }
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

// Two vectors of rows with half a full tile share the broadcasts of activations.
constexpr int kPairTokens = kTileGroup;
constexpr int kPairsAtOnce = 2;

}  // namespace
}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_LANES_AVX512VNNI_H_
