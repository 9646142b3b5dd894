// The loops of kernels.h over an abstract vector type, Vec. Included, after a Vec, by the
// translation unit of one instruction set; everything here has internal linkage for the reason that
// kernels.h gives.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_KERNELS_INL_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_KERNELS_INL_H_

#include <cstdint>

#include <immintrin.h>

#include "engine/backend/cpu/kernels.h"

namespace transmla::cpu {
namespace {

constexpr float kInfinity = __builtin_inff();

struct DecodeF32 {
  // Three times four accumulators, three tokens and a weight fill sixteen registers; AVX-512 has
  // twice as many.
  static constexpr int kTokens = Vec::kWidth == 16 ? 4 : 3;
  static constexpr int kElements = Vec::kWidth;
  static constexpr int kBytes = 4 * kElements;
  template <typename Fn>
  static void Decode(const uint8_t* p, Fn&& fn) {
    fn(0, Vec::Load(reinterpret_cast<const float*>(p)));
  }
};

// --- dot products ---

inline void StoreDot(const DotArgs& a, int row, int token, float sum) {
  float* out = a.out + token * a.out_stride + row;
  if (a.bias != nullptr) sum += a.bias[row];
  *out = a.accumulate ? *out + sum : sum;
}

inline void StoreDot4(const DotArgs& a, int row, int token, __m128 sum) {
  float* out = a.out + token * a.out_stride + row;
  if (a.bias != nullptr) sum = _mm_add_ps(sum, _mm_loadu_ps(a.bias + row));
  _mm_storeu_ps(out, a.accumulate ? _mm_add_ps(_mm_loadu_ps(out), sum) : sum);
}

// Reduces and stores a tile of R rows and T tokens.
template <int R, int T, typename V = Vec>
inline void StoreTile(const DotArgs& a, int row, int token, const Vec::F (&acc)[T * R]) {
  if constexpr (R == 4 && T == 4 && V::kWidth == 16) {
    float sums[16];
    V::Store(sums, V::Reduce16(acc));
    for (int t = 0; t < 4; ++t) StoreDot4(a, row, token + t, _mm_loadu_ps(sums + 4 * t));
  } else if constexpr (R == 4) {
#pragma GCC unroll 4
    for (int t = 0; t < T; ++t) {
      StoreDot4(a, row, token + t,
                Vec::Reduce4(acc[t * R], acc[t * R + 1], acc[t * R + 2], acc[t * R + 3]));
    }
  } else {
#pragma GCC unroll 4
    for (int t = 0; t < T; ++t) {
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) StoreDot(a, row + r, token + t, Vec::Reduce(acc[t * R + r]));
    }
  }
}

template <typename D, int R, int T>
inline void DotTile(const DotArgs& a, int row, int token) {
  const uint8_t* w[R];
  const float* x[T];
  Vec::F acc[T * R];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) w[r] = static_cast<const uint8_t*>(a.w) + (row + r) * a.w_stride;
#pragma GCC unroll 4
  for (int t = 0; t < T; ++t) x[t] = a.x + (token + t) * a.x_stride;
#pragma GCC unroll 16
  for (int i = 0; i < T * R; ++i) acc[i] = Vec::Zero();

  int64_t k = 0;
  for (; k + D::kElements <= a.k; k += D::kElements) {
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      D::Decode(
          w[r], [&](int i, Vec::F v) __attribute__((always_inline)) {
#pragma GCC unroll 4
            for (int t = 0; t < T; ++t) {
              acc[t * R + r] = Vec::Fma(v, Vec::Load(x[t] + k + i * Vec::kWidth), acc[t * R + r]);
            }
          });
      w[r] += D::kBytes;
    }
  }
  // Only plain types have a rest; what lies behind it is read by nobody.
  if (const int rest = static_cast<int>(a.k - k); rest > 0) {
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      alignas(64) uint8_t block[D::kBytes] = {};
      __builtin_memcpy(block, w[r], static_cast<size_t>(rest) * (D::kBytes / D::kElements));
      D::Decode(
          block, [&](int, Vec::F v) __attribute__((always_inline)) {
#pragma GCC unroll 4
            for (int t = 0; t < T; ++t) {
              acc[t * R + r] = Vec::Fma(v, Vec::LoadN(x[t] + k, rest), acc[t * R + r]);
            }
          });
    }
  }
  StoreTile<R, T>(a, row, token, acc);
}

// All rows for T tokens.
template <typename D, int T>
inline void DotRows(const DotArgs& a, int token) {
  int row = 0;
  for (; row + 4 <= a.rows; row += 4) DotTile<D, 4, T>(a, row, token);
  for (; row < a.rows; ++row) DotTile<D, 1, T>(a, row, token);
}

template <typename D>
void Dot(const DotArgs& a) {
  int token = 0;
  for (; token + D::kTokens <= a.tokens; token += D::kTokens) DotRows<D, D::kTokens>(a, token);
  switch (a.tokens - token) {
    case 1:
      return DotRows<D, 1>(a, token);
    case 2:
      return DotRows<D, 2>(a, token);
    case 3:
      return DotRows<D, 3>(a, token);
    default:
      return;
  }
}

template <typename D>
void DecodeRow(const void* row, int64_t n, float* out) {
  const uint8_t* p = static_cast<const uint8_t*>(row);
  int64_t k = 0;
  for (; k + D::kElements <= n; k += D::kElements, p += D::kBytes) {
    D::Decode(
        p, [&](int i, Vec::F v)
               __attribute__((always_inline)) { Vec::Store(out + k + i * Vec::kWidth, v); });
  }
  if (const int rest = static_cast<int>(n - k); rest > 0) {
    alignas(64) uint8_t block[D::kBytes] = {};
    __builtin_memcpy(block, p, static_cast<size_t>(rest) * (D::kBytes / D::kElements));
    D::Decode(
        block, [&](int, Vec::F v)
                   __attribute__((always_inline)) { Vec::StoreN(out + k, v, rest); });
  }
}

// --- element by element ---

// exp(x) = 2^n · exp(r), n = round(x / ln 2), |r| <= ln 2 / 2, ln 2 in two parts so that r is
// nearly exact; exp(r) by its Taylor polynomial of degree 7, whose truncation error r^8 / 8! is
// below 6e-9 relative.
constexpr float kExpLowest = -86.6f;    // below: 0
constexpr float kExpHighest = 88.722f;  // above: infinity

inline Vec::F ExpExponent(Vec::F x) {
  return Vec::Round(Vec::Mul(x, Vec::Set1(1.44269504088896341f)));
}
inline Vec::F ExpMantissa(Vec::F x, Vec::F n) {
  const Vec::F r0 = Vec::Fma(n, Vec::Set1(-0.693359375f), x);  // 9 bits: exact product
  const Vec::F r = Vec::Fma(n, Vec::Set1(2.12194440e-4f), r0);
  Vec::F p = Vec::Set1(1.0f / 5040);
  p = Vec::Fma(p, r, Vec::Set1(1.0f / 720));
  p = Vec::Fma(p, r, Vec::Set1(1.0f / 120));
  p = Vec::Fma(p, r, Vec::Set1(1.0f / 24));
  p = Vec::Fma(p, r, Vec::Set1(1.0f / 6));
  p = Vec::Fma(p, r, Vec::Set1(0.5f));
  p = Vec::Fma(p, r, Vec::Set1(1.0f));
  return Vec::Fma(p, r, Vec::Set1(1.0f));
}

inline Vec::F Exp(Vec::F x) {
  const Vec::F bounded = Vec::Min(Vec::Set1(kExpHighest), Vec::Max(Vec::Set1(kExpLowest), x));
  const Vec::F n = ExpExponent(bounded);
  // 2^n in two factors: n may be 128.
  const Vec::F value = Vec::Mul(
      Vec::Mul(ExpMantissa(bounded, n), Vec::Pow2(Vec::Sub(n, Vec::Set1(1.0f)))), Vec::Set1(2.0f));
  const Vec::F low = Vec::IfLess(x, Vec::Set1(kExpLowest), Vec::Zero(), value);
  return Vec::IfLess(Vec::Set1(kExpHighest), x, Vec::Set1(kInfinity), low);
}

// out[i] = fn(i, lanes) for all i < n, `fn` taking loads as a function of a pointer.
template <typename Fn>
inline void Map(int64_t n, float* out, Fn&& fn) {
  int64_t i = 0;
  for (; i + Vec::kWidth <= n; i += Vec::kWidth) {
    Vec::Store(out + i, fn([i](const float* p) { return Vec::Load(p + i); }));
  }
  if (const int rest = static_cast<int>(n - i); rest > 0) {
    Vec::StoreN(out + i, fn([i, rest](const float* p) { return Vec::LoadN(p + i, rest); }), rest);
  }
}

void ExpRow(const float* in, int64_t n, float* out) {
  Map(n, out, [&](auto load) { return Exp(load(in)); });
}

void SiluMul(const float* gate, const float* up, int64_t n, float* out) {
  const Vec::F one = Vec::Set1(1.0f);
  Map(n, out, [&](auto load) {
    const Vec::F x = load(gate);
    const Vec::F denominator = Vec::Add(one, Exp(Vec::Sub(Vec::Zero(), x)));
    return Vec::Mul(Vec::Div(x, denominator), load(up));
  });
}

void GeluTanhMul(const float* gate, const float* up, int64_t n, float* out) {
  const Vec::F one = Vec::Set1(1.0f);
  Map(n, out, [&](auto load) {
    const Vec::F x = load(gate);
    const Vec::F cube = Vec::Mul(Vec::Mul(x, x), x);
    const Vec::F inner =
        Vec::Mul(Vec::Set1(0.7978845608028654f), Vec::Fma(cube, Vec::Set1(0.044715f), x));
    // (1 + tanh(y)) / 2 = 1 / (1 + exp(-2 y))
    const Vec::F denominator = Vec::Add(one, Exp(Vec::Mul(Vec::Set1(-2.0f), inner)));
    return Vec::Mul(Vec::Div(x, denominator), load(up));
  });
}

// tanh(y). Near 0 its Taylor polynomial of degree 9, whose next term, 1382/155925 · y^11, is below
// 2^-26 of y; elsewhere 1 - 2 / (1 + exp(2 y)), which would lose the digits of small results.
inline Vec::F Tanh(Vec::F y) {
  const Vec::F one = Vec::Set1(1.0f);
  const Vec::F exp = Exp(Vec::Add(y, y));
  const Vec::F far = Vec::Sub(one, Vec::Div(Vec::Set1(2.0f), Vec::Add(one, exp)));
  const Vec::F square = Vec::Mul(y, y);
  Vec::F p = Vec::Set1(62.0f / 2835);
  p = Vec::Fma(p, square, Vec::Set1(-17.0f / 315));
  p = Vec::Fma(p, square, Vec::Set1(2.0f / 15));
  p = Vec::Fma(p, square, Vec::Set1(-1.0f / 3));
  p = Vec::Fma(p, square, one);
  return Vec::IfLess(square, Vec::Set1(0.0625f), Vec::Mul(y, p), far);
}

void SoftCap(float scale, float cap, int64_t n, float* values) {
  const Vec::F factor = Vec::Set1(scale / cap);
  const Vec::F bound = Vec::Set1(cap);
  Map(n, values, [&](auto load) { return Vec::Mul(bound, Tanh(Vec::Mul(load(values), factor))); });
}

// What a row's elements are multiplied by besides their weights.
inline Vec::F RmsFactor(const float* in, float eps, int64_t n) {
  Vec::F squares = Vec::Zero();
  int64_t i = 0;
  for (; i + Vec::kWidth <= n; i += Vec::kWidth) {
    const Vec::F x = Vec::Load(in + i);
    squares = Vec::Fma(x, x, squares);
  }
  if (const int rest = static_cast<int>(n - i); rest > 0) {
    const Vec::F x = Vec::LoadN(in + i, rest);
    squares = Vec::Fma(x, x, squares);
  }
  const float mean = Vec::Reduce(squares) / static_cast<float>(n);
  const float root = _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(mean + eps)));
  return Vec::Set1(1.0f / root);
}

void RmsNorm(const float* in, const float* weight, float eps, int64_t n, float* out) {
  const Vec::F factor = RmsFactor(in, eps, n);
  Map(n, out, [&](auto load) { return Vec::Mul(Vec::Mul(load(in), factor), load(weight)); });
}

void RmsNormAdd(const float* in, const float* weight, float eps, int64_t n, float* out) {
  const Vec::F factor = RmsFactor(in, eps, n);
  Map(n, out, [&](auto load) {
    return Vec::Add(load(out), Vec::Mul(Vec::Mul(load(in), factor), load(weight)));
  });
}

}  // namespace
}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_KERNELS_INL_H_
