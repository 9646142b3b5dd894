// Keys of sixteen cached tokens in lanes, sixteen bytes of each at a time, for attention kernels of
// AVX-512 that multiply within 32 bits. Included, after vec_avx512.h and attention_kernels_inl.h,
// by the translation units of such kernels.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_TOKEN_QUADS_INL_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_TOKEN_QUADS_INL_H_

#include <cstdint>
#include <type_traits>

#include <immintrin.h>

#include "engine/backend/cpu/attention_kernels_inl.h"

namespace transmla::cpu {
namespace {

// A quad: four times 32 bits of each of Vec::kWidth tokens.
constexpr int kQuad = 4;
constexpr int kQuadBytes = 4 * kQuad;

// The bytes at `p`: a quad's, or fewer and zeros.
struct WholeQuad {
  __m128 Load(const uint8_t* p) const { return _mm_loadu_ps(reinterpret_cast<const float*>(p)); }
};
struct PartOfQuad {
  __mmask16 mask;

  explicit PartOfQuad(int64_t bytes) : mask(static_cast<__mmask16>((1u << bytes) - 1u)) {}
  __m128 Load(const uint8_t* p) const { return _mm_castsi128_ps(_mm_maskz_loadu_epi8(mask, p)); }
};

// rows[i]: quarter j holds the bytes at `p` of token 4 j + i.
template <typename Loader>
inline void LoadQuarters(const uint8_t* p, int64_t stride, Loader loader, __m512 (&rows)[kQuad]) {
#pragma GCC unroll 4
  for (int i = 0; i < kQuad; ++i) {
    const auto load = [&](int token) __attribute__((always_inline)) {
      return loader.Load(p + token * stride);
    };
    __m512 row = _mm512_castps128_ps512(load(i));
    row = _mm512_insertf32x4(row, load(i + 4), 1);
    row = _mm512_insertf32x4(row, load(i + 8), 2);
    rows[i] = _mm512_insertf32x4(row, load(i + 12), 3);
  }
}

// keys[i]: the i-th 32 bits of the bytes at `p` of kWidth tokens. Rows are gathered by quarters, so
// that only quarters need to be transposed.
template <typename Loader>
inline void LoadQuad(const uint8_t* p, int64_t stride, Loader loader, __m512i (&keys)[kQuad]) {
  __m512 rows[kQuad];
  LoadQuarters(p, stride, loader, rows);
  const __m512 a = _mm512_unpacklo_ps(rows[0], rows[1]);
  const __m512 b = _mm512_unpackhi_ps(rows[0], rows[1]);
  const __m512 c = _mm512_unpacklo_ps(rows[2], rows[3]);
  const __m512 d = _mm512_unpackhi_ps(rows[2], rows[3]);
  keys[0] = _mm512_castps_si512(_mm512_shuffle_ps(a, c, 0x44));
  keys[1] = _mm512_castps_si512(_mm512_shuffle_ps(a, c, 0xEE));
  keys[2] = _mm512_castps_si512(_mm512_shuffle_ps(b, d, 0x44));
  keys[3] = _mm512_castps_si512(_mm512_shuffle_ps(b, d, 0xEE));
}

// Calls fn(byte, loader) for each quad of a row of `bytes`, the last with what there is of it.
template <typename Fn>
inline void ForEachQuad(int64_t bytes, Fn&& fn) {
  int64_t byte = 0;
  for (; byte + kQuadBytes <= bytes; byte += kQuadBytes) fn(byte, WholeQuad{});
  if (byte < bytes) fn(byte, PartOfQuad(bytes - byte));
}

// Asks for a part of the next tile, bytes [begin, begin + bytes) of `tokens` tokens from `token`:
// each of the quads that lie in a line, of which this is that at begin + byte, asks for that line
// of as many tokens. All at once, they would hold up the reads of this tile.
inline void FetchShare(const Segment& s, int token, int tokens, int64_t begin, int64_t byte,
                       int64_t bytes) {
  const int64_t line = byte / kLineBytes * kLineBytes;
  if (begin + line < s.next_byte) return;
  const int64_t quads = bytes - line >= kLineBytes ? kLineBytes / kQuadBytes
                                                   : (bytes - line + kQuadBytes - 1) / kQuadBytes;
  const int share = static_cast<int>((tokens + quads - 1) / quads);
  const int first = static_cast<int>((byte - line) / kQuadBytes) * share;
  for (int i = first; i < first + share && i < tokens; ++i) s.Prefetch(token + i, begin + line);
}

// Vectors of tokens that share the broadcasts of R rows' queries: as many as registers allow. Few
// rows, which wait for memory, do better with fewer reads at a time.
template <int R>
constexpr int kTokenVectors = R > 4 && R <= 9 ? 2 : 1;

// Calls fn(T, token) for T · kWidth tokens at a time, T = kTokenVectors<R> or, of the last, 1.
template <int R, typename Fn>
inline void ForEachTokenVectors(int tokens, Fn&& fn) {
  constexpr int kMost = kTokenVectors<R>;
  int token = 0;
  for (; token + kMost * Vec::kWidth <= tokens; token += kMost * Vec::kWidth) {
    fn(std::integral_constant<int, kMost>{}, token);
  }
  for (; token < tokens; token += Vec::kWidth) fn(std::integral_constant<int, 1>{}, token);
}

}  // namespace
}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_TOKEN_QUADS_INL_H_
