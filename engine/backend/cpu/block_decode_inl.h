// How blocks of weights become vectors of floats: one struct a type, for the tables that have byte
// shuffles (AVX2, AVX-512). Layouts are those of the GGUF specification, as in
// engine/tensor/block_formats.h.
//
// Decode calls fn(i, v) with vectors 0, 1, … of the block in order; the compiler folds fn in, so a
// dot product multiplies what it decoded without storing it. Products of a half-precision scale, a
// six-bit scale and a quant are exact in float, so a fused multiply-add rounds as the definition's
// separate multiplication and addition do.
//
// Included, after a Vec, by the translation unit of one instruction set.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_BLOCK_DECODE_INL_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_BLOCK_DECODE_INL_H_

#include <cstdint>

#include <immintrin.h>

namespace transmla::cpu {
namespace {

inline float HalfAt(const uint8_t* p) {
  uint16_t bits;
  __builtin_memcpy(&bits, p, sizeof(bits));
  return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(bits)));
}

inline __m128i BytesAt(const uint8_t* p) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}

// 16 in each byte whose bit of the sixteen at `p` is set, else 0.
inline __m128i FifthBits(const uint8_t* p) {
  uint16_t bits;
  __builtin_memcpy(&bits, p, sizeof(bits));
  const __m128i spread = _mm_shuffle_epi8(
      _mm_cvtsi32_si128(bits), _mm_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1));
  const __m128i select = _mm_set1_epi64x(static_cast<int64_t>(0x8040201008040201u));
  return _mm_and_si128(_mm_cmpeq_epi8(_mm_and_si128(spread, select), select), _mm_set1_epi8(16));
}

inline __m128i LowNibbles(__m128i q) { return _mm_and_si128(q, _mm_set1_epi8(0x0F)); }
inline __m128i HighNibbles(__m128i q) {
  return _mm_and_si128(_mm_srli_epi16(q, 4), _mm_set1_epi8(0x0F));
}

// Tokens that a weight decoded in registers meets before the next is decoded. With sixteen
// registers some sums live in memory then, which costs less than decoding again.
constexpr int kDecodedTokens = 4;

// Vectors in `elements` elements.
constexpr int Vectors(int elements) { return elements / Vec::kWidth; }

struct DecodeF16 {
  static constexpr int kTokens = kDecodedTokens;
  static constexpr int kElements = Vec::kWidth;
  static constexpr int kBytes = 2 * kElements;
  template <typename Fn>
  static void Decode(const uint8_t* p, Fn&& fn) {
    fn(0, Vec::LoadF16(p));
  }
};

struct DecodeBf16 {
  static constexpr int kTokens = kDecodedTokens;
  static constexpr int kElements = Vec::kWidth;
  static constexpr int kBytes = 2 * kElements;
  template <typename Fn>
  static void Decode(const uint8_t* p, Fn&& fn) {
    fn(0, Vec::LoadBf16(p));
  }
};

struct DecodeQ4_0 {
  static constexpr int kTokens = kDecodedTokens;
  static constexpr int kElements = 32;
  static constexpr int kBytes = 18;
  template <typename Fn>
  static void Decode(const uint8_t* p, Fn&& fn) {
    const auto table = Vec::CentredNibbles(HalfAt(p));
    const __m128i q = BytesAt(p + 2);
    Vec::EmitLow(q, table, 0, fn);
    Vec::EmitHigh(q, table, Vectors(16), fn);
  }
};

struct DecodeQ4_1 {
  static constexpr int kTokens = kDecodedTokens;
  static constexpr int kElements = 32;
  static constexpr int kBytes = 20;
  template <typename Fn>
  static void Decode(const uint8_t* p, Fn&& fn) {
    const auto table = Vec::AffineNibbles(HalfAt(p), HalfAt(p + 2));
    const __m128i q = BytesAt(p + 4);
    Vec::EmitLow(q, table, 0, fn);
    Vec::EmitHigh(q, table, Vectors(16), fn);
  }
};

struct DecodeQ5_0 {
  static constexpr int kTokens = kDecodedTokens;
  static constexpr int kElements = 32;
  static constexpr int kBytes = 22;
  template <typename Fn>
  static void Decode(const uint8_t* p, Fn&& fn) {
    const Vec::F scale = Vec::Set1(HalfAt(p));
    const __m128i q = BytesAt(p + 6);
    const __m128i low = _mm_or_si128(LowNibbles(q), FifthBits(p + 2));
    const __m128i high = _mm_or_si128(HighNibbles(q), FifthBits(p + 4));
    Vec::EmitSigned(_mm_sub_epi8(low, _mm_set1_epi8(16)), scale, 0, fn);
    Vec::EmitSigned(_mm_sub_epi8(high, _mm_set1_epi8(16)), scale, Vectors(16), fn);
  }
};

struct DecodeQ5_1 {
  static constexpr int kTokens = kDecodedTokens;
  static constexpr int kElements = 32;
  static constexpr int kBytes = 24;
  template <typename Fn>
  static void Decode(const uint8_t* p, Fn&& fn) {
    const Vec::F scale = Vec::Set1(HalfAt(p));
    const Vec::F offset = Vec::Set1(HalfAt(p + 2));
    const __m128i q = BytesAt(p + 8);
    const __m128i low = _mm_or_si128(LowNibbles(q), FifthBits(p + 4));
    const __m128i high = _mm_or_si128(HighNibbles(q), FifthBits(p + 6));
    Vec::EmitUnsigned(low, scale, offset, 0, fn);
    Vec::EmitUnsigned(high, scale, offset, Vectors(16), fn);
  }
};

struct DecodeQ8_0 {
  static constexpr int kTokens = kDecodedTokens;
  static constexpr int kElements = 32;
  static constexpr int kBytes = 34;
  template <typename Fn>
  static void Decode(const uint8_t* p, Fn&& fn) {
    const Vec::F scale = Vec::Set1(HalfAt(p));
    Vec::EmitSigned(BytesAt(p + 2), scale, 0, fn);
    Vec::EmitSigned(BytesAt(p + 18), scale, Vectors(16), fn);
  }
};

// The eight six-bit scales and minima of a Q4_K or Q5_K block.
struct SixBitScales {
  float scale[8];
  float offset[8];

  SixBitScales(const uint8_t* p, float d, float dmin) {
    for (int j = 0; j < 8; ++j) {
      const int s = j < 4 ? p[j] & 63 : (p[j + 4] & 15) | (p[j - 4] >> 6) << 4;
      const int m = j < 4 ? p[j + 4] & 63 : (p[j + 4] >> 4) | (p[j] >> 6) << 4;
      scale[j] = d * static_cast<float>(s);
      offset[j] = -(dmin * static_cast<float>(m));
    }
  }
};

struct DecodeQ4_K {
  static constexpr int kTokens = kDecodedTokens;
  static constexpr int kElements = 256;
  static constexpr int kBytes = 144;
  template <typename Fn>
  static void Decode(const uint8_t* p, Fn&& fn) {
    const SixBitScales s(p + 4, HalfAt(p), HalfAt(p + 2));
#pragma GCC unroll 4
    for (int group = 0; group < 4; ++group) {
      const __m128i q0 = BytesAt(p + 16 + 32 * group);
      const __m128i q1 = BytesAt(p + 32 + 32 * group);
      const auto low = Vec::AffineNibbles(s.scale[2 * group], s.offset[2 * group]);
      const auto high = Vec::AffineNibbles(s.scale[2 * group + 1], s.offset[2 * group + 1]);
      Vec::EmitLow(q0, low, Vectors(64 * group), fn);
      Vec::EmitLow(q1, low, Vectors(64 * group + 16), fn);
      Vec::EmitHigh(q0, high, Vectors(64 * group + 32), fn);
      Vec::EmitHigh(q1, high, Vectors(64 * group + 48), fn);
    }
  }
};

struct DecodeQ5_K {
  static constexpr int kTokens = kDecodedTokens;
  static constexpr int kElements = 256;
  static constexpr int kBytes = 176;
  template <typename Fn>
  static void Decode(const uint8_t* p, Fn&& fn) {
    const SixBitScales s(p + 4, HalfAt(p), HalfAt(p + 2));
#pragma GCC unroll 8
    for (int part = 0; part < 8; ++part) {  // 32 elements of one scale
      const Vec::F scale = Vec::Set1(s.scale[part]);
      const Vec::F offset = Vec::Set1(s.offset[part]);
      for (int half = 0; half < 2; ++half) {
        const __m128i q = BytesAt(p + 48 + 32 * (part / 2) + 16 * half);
        const __m128i nibbles = part % 2 == 0 ? LowNibbles(q) : HighNibbles(q);
        const __m128i bit = _mm_set1_epi8(static_cast<char>(1 << part));
        const __m128i set = _mm_cmpeq_epi8(_mm_and_si128(BytesAt(p + 16 + 16 * half), bit), bit);
        const __m128i fifth = _mm_and_si128(set, _mm_set1_epi8(16));
        Vec::EmitUnsigned(_mm_or_si128(nibbles, fifth), scale, offset,
                          Vectors(32 * part + 16 * half), fn);
      }
    }
  }
};

struct DecodeQ6_K {
  static constexpr int kTokens = kDecodedTokens;
  static constexpr int kElements = 256;
  static constexpr int kBytes = 210;
  template <typename Fn>
  static void Decode(const uint8_t* p, Fn&& fn) {
    const float d = HalfAt(p + 208);
#pragma GCC unroll 16
    for (int group = 0; group < 16; ++group) {  // 16 elements of one scale
      const int half = group / 8;
      const int quarter = group % 8 / 2;
      const int at = 16 * (group % 2);
      const __m128i ql = BytesAt(p + 64 * half + 32 * (quarter % 2) + at);
      const __m128i qh = BytesAt(p + 128 + 32 * half + at);
      const __m128i nibbles = quarter < 2 ? LowNibbles(ql) : HighNibbles(ql);
      const __m128i top = _mm_and_si128(_mm_srli_epi16(qh, 2 * quarter), _mm_set1_epi8(3));
      const __m128i q = _mm_or_si128(nibbles, _mm_slli_epi16(top, 4));
      const float scale = d * static_cast<float>(static_cast<int8_t>(p[192 + group]));
      Vec::EmitSigned(_mm_sub_epi8(q, _mm_set1_epi8(32)), Vec::Set1(scale), Vectors(16 * group),
                      fn);
    }
  }
};

}  // namespace
}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_BLOCK_DECODE_INL_H_
