// Groups of values stored as 8-bit integers under one float scale, as int8 caches hold them.
//
// scale = greatest |value| / 127 and stored = value / scale, rounded to nearest, ties to even; what
// is read is stored · scale, each of these one float operation. So every value is off by at most
// half a scale, the greatest by a rounding alone.
#ifndef TRANSMLA_ENGINE_TENSOR_INT8_GROUP_H_
#define TRANSMLA_ENGINE_TENSOR_INT8_GROUP_H_

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>

namespace transmla {

// Stores n values to `stored` and returns their scale. constexpr, which lets device code call it.
//
// Where no scale serves, all are stored as 0. Values that are all below 127 · 2^-126 get scale 0: a
// subnormal scale is too coarse to keep quotients within 127. A group with a NaN or an infinity
// gets scale NaN and so reads as NaN throughout: what went wrong before the cache stays visible
// behind it.
constexpr float QuantizeInt8Group(const float* values, int64_t n, int8_t* stored) {
  constexpr uint32_t kInfinity = 0x7F800000u;
  // Bits of magnitudes are ordered as the magnitudes are, NaN above infinity.
  uint32_t greatest = 0;
  for (int64_t i = 0; i < n; ++i) {
    greatest = std::max(greatest, std::bit_cast<uint32_t>(values[i]) & 0x7FFFFFFFu);
  }
  const bool finite = greatest < kInfinity;
  const float scale = finite ? std::bit_cast<float>(greatest) / 127.0f : 0.0f;
  if (scale < std::numeric_limits<float>::min()) {
    for (int64_t i = 0; i < n; ++i) stored[i] = 0;
    return finite ? 0.0f : std::numeric_limits<float>::quiet_NaN();
  }
  // Adding 1.5 · 2^23 leaves no bits for fractions: the sum is rounded as any other.
  constexpr float kNoFractions = 0x1.8p23f;
  for (int64_t i = 0; i < n; ++i) {
    stored[i] = static_cast<int8_t>((values[i] / scale + kNoFractions) - kNoFractions);
  }
  return scale;
}

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_TENSOR_INT8_GROUP_H_
