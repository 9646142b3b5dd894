#include "engine/tensor/dtype.h"

#include <array>
#include <cstddef>

#include "engine/base/check.h"

namespace transmla {
namespace {

// In the order of the enum. Block sizes: GGUF specification, quantisation types.
constexpr std::array<DTypeTraits, 18> kTraits = {{
    {"f32", 1, 4},
    {"f16", 1, 2},
    {"bf16", 1, 2},
    {"f64", 1, 8},
    {"i8", 1, 1},
    {"i16", 1, 2},
    {"i32", 1, 4},
    {"i64", 1, 8},
    {"q4_0", 32, 18},
    {"q4_1", 32, 20},
    {"q5_0", 32, 22},
    {"q5_1", 32, 24},
    {"q8_0", 32, 34},
    {"q2_k", 256, 84},
    {"q3_k", 256, 110},
    {"q4_k", 256, 144},
    {"q5_k", 256, 176},
    {"q6_k", 256, 210},
}};

}  // namespace

const DTypeTraits& TraitsOf(DType dtype) {
  const auto index = static_cast<size_t>(dtype);
  CHECK_LT(index, kTraits.size());
  return kTraits[index];
}

std::optional<DType> ParseDType(absl::string_view name) {
  for (size_t i = 0; i < kTraits.size(); ++i) {
    if (kTraits[i].name == name) return static_cast<DType>(i);
  }
  return std::nullopt;
}

int64_t RowBytes(DType dtype, int64_t elements) {
  const DTypeTraits& traits = TraitsOf(dtype);
  CHECK_GE(elements, 0);
  CHECK_EQ(elements % traits.block_elements, 0);
  return elements / traits.block_elements * traits.block_bytes;
}

}  // namespace transmla
