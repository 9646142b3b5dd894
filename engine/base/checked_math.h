// Integer arithmetic on sizes that come from files and requests: overflow is an answer, not
// undefined behaviour.
#ifndef TRANSMLA_ENGINE_BASE_CHECKED_MATH_H_
#define TRANSMLA_ENGINE_BASE_CHECKED_MATH_H_

#include <concepts>
#include <cstdint>
#include <optional>

namespace transmla {

// a * b, or nothing if it does not fit.
template <std::integral T>
constexpr std::optional<T> CheckedMul(T a, T b) {
  T result{};
  if (__builtin_mul_overflow(a, b, &result)) return std::nullopt;
  return result;
}

// a + b, or nothing if it does not fit.
template <std::integral T>
constexpr std::optional<T> CheckedAdd(T a, T b) {
  T result{};
  if (__builtin_add_overflow(a, b, &result)) return std::nullopt;
  return result;
}

// ⌈a / b⌉. REQUIRES: a >= 0, b > 0.
template <std::integral T>
constexpr T CeilDiv(T a, T b) {
  return a / b + (a % b != 0 ? 1 : 0);
}

// The least multiple of `alignment` that is not below `a`. REQUIRES: a >= 0, alignment > 0, the
// result fits.
template <std::integral T>
constexpr T AlignUp(T a, T alignment) {
  return CeilDiv(a, alignment) * alignment;
}

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_BASE_CHECKED_MATH_H_
