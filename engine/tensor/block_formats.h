// GGUF's block-quantised formats: how their bytes become numbers.
//
// Layouts follow the GGUF specification's quantisation types. Decoding is exact: every value is a
// float32 computed as scale · quant (+ minimum) with the stored half-precision scale widened to
// float32 first.
#ifndef TRANSMLA_ENGINE_TENSOR_BLOCK_FORMATS_H_
#define TRANSMLA_ENGINE_TENSOR_BLOCK_FORMATS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"

#include "engine/tensor/dtype.h"
#include "engine/tensor/tensor_view.h"

namespace transmla {

// Decodes out.size() elements of a row stored as `dtype` (F32, F16, BF16 or a block type) that
// starts at `row`. REQUIRES: out.size() is a multiple of the type's block and the bytes are there.
// Any bit pattern decodes to something. Plain scalar code: the definition that vectorised kernels
// are tested against.
void DequantizeRow(DType dtype, const void* row, absl::Span<float> out);

// True for the types that DequantizeRow decodes.
bool IsDequantizable(DType dtype);

// Encodes a row of floats as F32, F16, BF16 or Q8_0 (round to nearest; Q8_0: scale = max|x| / 127
// per 32). Returns InvalidArgument for other types.
absl::Status QuantizeRow(DType dtype, absl::Span<const float> row, void* out);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_TENSOR_BLOCK_FORMATS_H_
