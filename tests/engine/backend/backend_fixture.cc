#include "tests/engine/backend/backend_fixture.h"

#include <cstring>

#include "engine/tensor/float_types.h"

namespace transmla {
namespace {

// Where a block keeps its half-precision numbers, in bytes.
std::vector<int> HalfOffsets(DType dtype) {
  switch (dtype) {
    case DType::kQ4_0:
    case DType::kQ5_0:
    case DType::kQ8_0:
      return {0};
    case DType::kQ4_1:
    case DType::kQ5_1:
    case DType::kQ4_K:
    case DType::kQ5_K:
      return {0, 2};
    case DType::kQ2_K:
      return {80, 82};
    case DType::kQ3_K:
      return {108};
    case DType::kQ6_K:
      return {208};
    default:
      return {};
  }
}

}  // namespace

std::vector<uint8_t> RandomRows(Random& random, DType dtype, int64_t elements) {
  std::vector<uint8_t> bytes(RowBytes(dtype, elements));
  if (!IsBlockQuantized(dtype)) {
    const std::vector<float> values = RandomFloats(random, elements);
    CHECK_OK(QuantizeRow(dtype, values, bytes.data()));
    return bytes;
  }
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  const int block = TraitsOf(dtype).block_bytes;
  for (size_t at = 0; at < bytes.size(); at += block) {
    for (const int offset : HalfOffsets(dtype)) {
      const uint16_t half = FloatToF16(static_cast<float>(random.Normal() * 0.01));
      std::memcpy(bytes.data() + at + offset, &half, sizeof(half));
    }
  }
  return bytes;
}

}  // namespace transmla
