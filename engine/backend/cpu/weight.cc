#include "engine/backend/cpu/weight.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

#include "engine/backend/cpu/context.h"
#include "engine/backend/cpu/panel_format.h"
#include "engine/base/checked_math.h"
#include "engine/base/status.h"
#include "engine/tensor/block_formats.h"
#include "engine/tensor/host_tensor.h"

namespace transmla::cpu {

namespace {

// Panels of a task: enough work to be worth handing out.
constexpr int64_t kTaskPanels = 64;

}  // namespace

absl::StatusOr<WeightPtr> CpuWeight::CreatePanels(const TensorView& source,
                                                  const Packing& packing) {
  const int64_t panels = CeilDiv(source.shape.rows(), int64_t{kPanelRows});
  const int64_t bytes = panels * PanelBytes(source.dtype, source.shape.cols());
  ASSIGN_OR_RETURN(std::shared_ptr<std::byte> data, packing.memory.Take(bytes));
  packing.packers.ParallelFor(CeilDiv(panels, kTaskPanels), [&](int64_t task, int) {
    PackPanels(source, task * kTaskPanels, std::min(panels, (task + 1) * kTaskPanels),
               reinterpret_cast<uint8_t*>(data.get()));
  });
  auto weight = std::shared_ptr<CpuWeight>(
      new CpuWeight({nullptr, source.dtype, source.shape}, nullptr, /*refers_to_source=*/false));
  weight->panels_ = std::move(data);
  weight->panel_bytes_ = bytes;
  weight->panel_dot_ = packing.dots.For(source.dtype, source.shape.cols());
  return WeightPtr(std::move(weight));
}

absl::StatusOr<WeightPtr> CpuWeight::Create(const WeightSource& source,
                                            std::optional<Packing> packing) {
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
    return WeightPtr(new CpuWeight(copy->view(), copy, /*refers_to_source=*/false));
  }
  const bool product =
      source.role == WeightRole::kLinear || source.role == WeightRole::kTiedEmbedding;
  if (packing.has_value() && product && PanelFormatOf(view.dtype) != nullptr) {
    return CreatePanels(view, *packing);
  }
  if (source.owner == nullptr) {
    auto copy = std::make_shared<HostTensor>(view.dtype, view.shape);
    std::memcpy(copy->as<std::byte>(), view.data, static_cast<size_t>(view.bytes()));
    return WeightPtr(new CpuWeight(copy->view(), copy, /*refers_to_source=*/false));
  }
  return WeightPtr(new CpuWeight(view, source.owner, /*refers_to_source=*/true));
}

}  // namespace transmla::cpu
