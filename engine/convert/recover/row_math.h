// Exponentials of whole rows, in loops that compilers turn into vector instructions of any width:
// the library's are computed one by one, and of a step's time they would be a fifth.
#ifndef TRANSMLA_ENGINE_CONVERT_RECOVER_ROW_MATH_H_
#define TRANSMLA_ENGINE_CONVERT_RECOVER_ROW_MATH_H_

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

namespace transmla {

// exp(x) of finite x within 2 units of the last place; below −87 what it is at −87, 1e-38, and
// above 88 what it is at 88. exp(x) = 2ⁿ · exp(r), n the integer nearest to x / ln 2, exp(r) by its
// Taylor polynomial of degree 7, whose remainder is below 1e-8 for |r| ≤ ln 2 / 2.
inline float FastExp(float x) {
  constexpr float kInverseLn2 = 1.44269504f;
  // ln 2 in two parts, the first with few enough bits that n times it is exact.
  constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  // Adding it leaves the nearest integer in the low bits.
  constexpr float kRound = 12582912.0f;
  x = std::min(std::max(x, -87.0f), 88.0f);
  const float shifted = x * kInverseLn2 + kRound;
  const float n = shifted - kRound;
  const float r = (x - n * kLn2High) - n * kLn2Low;
  float p = 1.0f / 5040;
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const int32_t exponent = (std::bit_cast<int32_t>(shifted) - std::bit_cast<int32_t>(kRound)) << 23;
  return std::bit_cast<float>(std::bit_cast<int32_t>(p) + exponent);
}

inline float FastSigmoid(float x) { return 1.0f / (1.0f + FastExp(-x)); }

// Within 2e-7.
inline float FastTanh(float x) { return 1.0f - 2.0f / (1.0f + FastExp(2.0f * x)); }

inline constexpr int64_t kRowLanes = 16;

// REQUIRES: n > 0.
inline float RowMax(const float* row, int64_t n) {
  std::array<float, kRowLanes> top;
  top.fill(row[0]);
  int64_t i = 0;
  for (; i + kRowLanes <= n; i += kRowLanes)
    for (int64_t lane = 0; lane < kRowLanes; ++lane)
      top[lane] = top[lane] < row[i + lane] ? row[i + lane] : top[lane];
  for (; i < n; ++i) top[0] = std::max(top[0], row[i]);
  return *std::max_element(top.begin(), top.end());
}

// Sum of value(i), 0 ≤ i < n, in lanes, so that neither loops nor rounding are those of one long
// chain.
template <typename Value>
double RowSum(int64_t n, Value value) {
  double total = 0;
  constexpr int64_t kBlock = 64 * kRowLanes;
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int64_t end = std::min(n, begin + kBlock);
    std::array<float, kRowLanes> sums{};
    int64_t i = begin;
    for (; i + kRowLanes <= end; i += kRowLanes)
      for (int64_t lane = 0; lane < kRowLanes; ++lane) sums[lane] += value(i + lane);
    for (; i < end; ++i) sums[0] += value(i);
    for (const float sum : sums) total += sum;
  }
  return total;
}

// row[i] = exp((row[i] − top) · scale).
inline void ExpRow(float* row, int64_t n, float top, float scale) {
  for (int64_t i = 0; i < n; ++i) row[i] = FastExp((row[i] - top) * scale);
}

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_RECOVER_ROW_MATH_H_
