// Rounding of a result's weights to the type that they are written as.
#ifndef TRANSMLA_ENGINE_CONVERT_ENCODE_H_
#define TRANSMLA_ENGINE_CONVERT_ENCODE_H_

#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

#include "engine/tensor/dtype.h"

namespace transmla {

// DataLoss, naming the tensor, unless all `values`, as read back from `dtype`, are finite.
absl::Status CheckFinite(absl::string_view name, DType dtype, absl::Span<const float> values);

// `values`, whole rows, as `dtype` (F32, F16, BF16 or Q8_0). As CheckFinite if one is not finite,
// or is too large for the type.
absl::StatusOr<std::vector<char>> EncodeFinite(absl::string_view name, DType dtype,
                                               absl::Span<const float> values);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_ENCODE_H_
