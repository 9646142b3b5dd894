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
  static I SetByte(int a) { return _mm512_set1_epi8(static_cast<char>(a)); }
  static I And(I a, I b) { return _mm512_and_si512(a, b); }
  static I Or(I a, I b) { return _mm512_or_si512(a, b); }
  static I Xor(I a, I b) { return _mm512_xor_si512(a, b); }
  // Of 16-bit lanes: bits cross from byte to byte.
  template <int kBits>
  static I ShiftLeft(I a) {
    return _mm512_slli_epi16(a, kBits);
  }
  template <int kBits>
  static I ShiftRight(I a) {
    return _mm512_srli_epi16(a, kBits);
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

// The rows of two panels, of which the second one lies `apart` bytes behind the first, as OnePanel
// (panel_blocks_inl.h).
struct TwoPanels {
  using V = WideVnniLanes;
  static constexpr int kPanels = 2;
  const uint8_t* const second;
  const int64_t apart;

  TwoPanels(const uint8_t* first, int64_t bytes) : second(first + bytes), apart(bytes) {}
  V::I Bytes(const uint8_t* p) const {
    return _mm512_inserti64x4(_mm512_castsi256_si512(Lanes::LoadBytes(p)),
                              Lanes::LoadBytes(p + apart), 1);
  }
  V::F Halves(const uint8_t* p) const {
    return _mm512_cvtph_ps(
        _mm256_inserti128_si256(_mm256_castsi128_si256(Load16(p)), Load16(p + apart), 1));
  }
  V::F U8(const uint8_t* p) const { return V::ToFloat(_mm512_cvtepu8_epi32(Load8(p))); }
  V::F I8(const uint8_t* p) const { return V::ToFloat(_mm512_cvtepi8_epi32(Load8(p))); }
  void Fetch(const uint8_t* p, int64_t ahead) const {
    p += ahead;
    if (p >= second) p += apart;  // behind the first panel comes that of the next two
    __builtin_prefetch(p);
    __builtin_prefetch(p + apart);
  }

 private:
  static __m128i Load16(const uint8_t* p) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  }
  // Eight bytes of each.
  __m128i Load8(const uint8_t* p) const {
    return _mm_unpacklo_epi64(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)),
                              _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p + apart)));
  }
};
// What up to kPackedTokens tokens meet at a time.
using FewPanels = TwoPanels;

// Two vectors of rows with half a full tile share the broadcasts of activations.
constexpr int kPairTokens = kTileGroup;
constexpr int kPairsAtOnce = 2;

}  // namespace
}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_LANES_AVX512VNNI_H_
