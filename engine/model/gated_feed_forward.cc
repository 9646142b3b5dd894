#include <vector>

#include "engine/base/status.h"
#include "engine/model/feed_forward.h"

namespace transmla {
namespace {

struct Layer {
  WeightPtr gate, up, down;
};

class GatedFeedForward : public FeedForward {
 public:
  GatedFeedForward(const ModelSpec& spec, Backend* backend) : spec_(spec), backend_(backend) {}

  absl::Status Allocate(const StepLimits& limits) override {
    const Shape shape({limits.max_tokens, spec_.intermediate_size});
    ASSIGN_OR_RETURN(gate_, backend_->NewTensor(shape));
    ASSIGN_OR_RETURN(up_, backend_->NewTensor(shape));
    return absl::OkStatus();
  }

  void Load(const TensorNames& names, WeightLoader& loader) {
    const int64_t hidden = spec_.hidden_size;
    const int64_t width = spec_.intermediate_size;
    for (int i = 0; i < spec_.num_layers; ++i) {
      Layer& layer = layers_.emplace_back();
      if (!loader.Wants(i) || spec_.HasExperts(i)) continue;
      if (names.gate_up.empty()) {
        layer.gate = loader.Matrix(LayerName(names.gate, i), width, hidden);
        layer.up = loader.Matrix(LayerName(names.up, i), width, hidden);
      } else {
        const std::string name = LayerName(names.gate_up, i);
        const WeightLoader::Fused fused{.name = name, .rows = 2 * width, .cols = hidden};
        layer.gate = loader.RowsOf(fused, 0, width);
        layer.up = loader.RowsOf(fused, width, width);
      }
      layer.down = loader.Matrix(LayerName(names.down, i), hidden, width);
    }
  }

  absl::Status Run(const FeedForwardStep& step) override {
    const Layer& weights = layers_[step.layer];
    const MutableTensorView gate = gate_->Rows(step.normed.shape[0]);
    const MutableTensorView up = up_->Rows(step.normed.shape[0]);
    RETURN_IF_ERROR(backend_->GatedLinear({.in = step.normed,
                                           .gate = weights.gate.get(),
                                           .up = weights.up.get(),
                                           .activation = spec_.activation,
                                           .up_out = up,
                                           .out = gate}));
    return backend_->Linear(
        {.in = gate, .weight = weights.down.get(), .accumulate = step.accumulate, .out = step.out});
  }

 private:
  const ModelSpec spec_;
  Backend* const backend_;
  std::vector<Layer> layers_;  // empty those with experts
  std::unique_ptr<DeviceTensor> gate_, up_;
};

}  // namespace

std::unique_ptr<FeedForward> LoadGatedFeedForward(const ModelSpec& spec, const TensorNames& names,
                                                  WeightLoader& loader, Backend* backend) {
  auto feed_forward = std::make_unique<GatedFeedForward>(spec, backend);
  feed_forward->Load(names, loader);
  return feed_forward;
}

}  // namespace transmla
