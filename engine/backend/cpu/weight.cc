#include "engine/backend/cpu/weight.h"

#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

#include "engine/backend/cpu/context.h"
#include "engine/tensor/block_formats.h"
#include "engine/tensor/host_tensor.h"

namespace transmla::cpu {

absl::StatusOr<WeightPtr> CpuWeight::Create(const WeightSource& source) {
  const TensorView& view = source.view;
  // Four decoded rows are the least that Linear works on.
  constexpr int64_t kMaxCols = CpuContext::kScratchBytes / (4 * sizeof(float));
  if (view.shape.cols() > kMaxCols) {
    return absl::InvalidArgumentError(absl::StrCat("weight of shape ", view.shape.ToString(),
                                                   " has rows above the limit of ", kMaxCols,
                                                   " elements"));
  }
  if (source.role == WeightRole::kVector) {
    auto copy = std::make_shared<HostTensor>(DType::kF32, view.shape);
    DequantizeRow(view.dtype, view.data, absl::MakeSpan(copy->as<float>(), view.shape.elements()));
    return WeightPtr(new CpuWeight(copy->view(), copy));
  }
  if (source.owner == nullptr) {
    auto copy = std::make_shared<HostTensor>(view.dtype, view.shape);
    std::memcpy(copy->as<std::byte>(), view.data, static_cast<size_t>(view.bytes()));
    return WeightPtr(new CpuWeight(copy->view(), copy));
  }
  return WeightPtr(new CpuWeight(view, source.owner));
}

}  // namespace transmla::cpu
