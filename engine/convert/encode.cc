#include "engine/convert/encode.h"

#include <cmath>
#include <cstdint>

#include "absl/strings/str_cat.h"

#include "engine/base/status.h"
#include "engine/tensor/block_formats.h"

namespace transmla {

absl::Status CheckFinite(absl::string_view name, DType dtype, absl::Span<const float> values) {
  for (const float value : values) {
    if (!std::isfinite(value))
      return absl::DataLossError(absl::StrCat("converted tensor ", name, " has an element ", value,
                                              " as ", DTypeName(dtype),
                                              "; write a wider type (f32)"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<char>> EncodeFinite(absl::string_view name, DType dtype,
                                               absl::Span<const float> values) {
  // A block's quants saturate where the value itself is not finite.
  RETURN_IF_ERROR(CheckFinite(name, dtype, values));
  std::vector<char> encoded(RowBytes(dtype, static_cast<int64_t>(values.size())));
  RETURN_IF_ERROR(QuantizeRow(dtype, values, encoded.data()));
  std::vector<float> decoded(values.size());
  DequantizeRow(dtype, encoded.data(), absl::MakeSpan(decoded));
  RETURN_IF_ERROR(CheckFinite(name, dtype, decoded));
  return encoded;
}

}  // namespace transmla
