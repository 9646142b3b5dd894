#include "engine/model/feed_forward.h"

#include "engine/base/status.h"

namespace transmla {

absl::Status FeedForward::Allocate(const StepLimits& limits) {
  const Shape shape({limits.max_tokens, spec_.intermediate_size});
  ASSIGN_OR_RETURN(gate_, backend_->NewTensor(shape));
  ASSIGN_OR_RETURN(up_, backend_->NewTensor(shape));
  return absl::OkStatus();
}

void FeedForward::Load(const TensorNames& names, WeightLoader& loader) {
  const int hidden = spec_.hidden_size;
  const int width = spec_.intermediate_size;
  for (int i = 0; i < spec_.num_layers; ++i) {
    layers_.push_back({.gate = loader.Matrix(LayerName(names.gate, i), width, hidden),
                       .up = loader.Matrix(LayerName(names.up, i), width, hidden),
                       .down = loader.Matrix(LayerName(names.down, i), hidden, width)});
  }
}

absl::Status FeedForward::Run(int layer, const TensorView& normed,
                              const MutableTensorView& hidden) {
  const Layer& weights = layers_[layer];
  const MutableTensorView gate = gate_->Rows(normed.shape[0]);
  const MutableTensorView up = up_->Rows(normed.shape[0]);
  RETURN_IF_ERROR(backend_->Linear({.in = normed, .weight = weights.gate.get(), .out = gate}));
  RETURN_IF_ERROR(backend_->Linear({.in = normed, .weight = weights.up.get(), .out = up}));
  RETURN_IF_ERROR(backend_->GatedActivation(
      {.gate = gate, .up = up, .activation = spec_.activation, .out = gate}));
  return backend_->Linear(
      {.in = gate, .weight = weights.down.get(), .accumulate = true, .out = hidden});
}

}  // namespace transmla
