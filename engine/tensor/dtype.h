// DType names the element types of checkpoints, activations and caches, among them GGUF's
// block-quantised ones.
//
// A block type stores kBlock consecutive elements of a row together with their scales (GGUF
// specification, "ggml_type"); rows are whole numbers of blocks. A plain type is a block of one
// element.
#ifndef TRANSMLA_ENGINE_TENSOR_DTYPE_H_
#define TRANSMLA_ENGINE_TENSOR_DTYPE_H_

#include <cstdint>
#include <optional>

#include "absl/strings/string_view.h"

namespace transmla {

enum class DType : uint8_t {
  kF32,
  kF16,
  kBF16,
  kF64,
  kI8,
  kI16,
  kI32,
  kI64,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
};

struct DTypeTraits {
  absl::string_view name;  // lower case: "f32", "q4_1", "q4_k"
  int block_elements;      // 1 for plain types, 32 for Qx_0/Qx_1, 256 for Qx_K
  int block_bytes;
};

// Never fails: every DType has traits.
const DTypeTraits& TraitsOf(DType dtype);

inline absl::string_view DTypeName(DType dtype) { return TraitsOf(dtype).name; }
inline bool IsBlockQuantized(DType dtype) { return TraitsOf(dtype).block_elements > 1; }

// The type of that name (as TraitsOf spells it), or nothing.
std::optional<DType> ParseDType(absl::string_view name);

// Bytes of a row of `elements` elements. REQUIRES: elements is a non-negative multiple of
// block_elements and the result fits.
int64_t RowBytes(DType dtype, int64_t elements);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_TENSOR_DTYPE_H_
