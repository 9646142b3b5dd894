// Gated feed-forward block of a layer: down(activation(gate(x)) · up(x)), added to the residual
// stream.
#ifndef TRANSMLA_ENGINE_MODEL_FEED_FORWARD_H_
#define TRANSMLA_ENGINE_MODEL_FEED_FORWARD_H_

#include <memory>
#include <vector>

#include "absl/status/status.h"

#include "engine/backend/backend.h"
#include "engine/model/model_spec.h"
#include "engine/model/weights.h"

namespace transmla {

// Weights of all layers and the buffers they share. Thread-compatible.
class FeedForward {
 public:
  FeedForward(const ModelSpec& spec, Backend* backend) : spec_(spec), backend_(backend) {}

  absl::Status Allocate(const StepLimits& limits);
  void Load(const TensorNames& names, WeightLoader& loader);
  // `normed` [tokens, hidden_size] in, `hidden` [tokens, hidden_size] added to.
  absl::Status Run(int layer, const TensorView& normed, const MutableTensorView& hidden);

 private:
  struct Layer {
    WeightPtr gate, up, down;
  };
  const ModelSpec spec_;
  Backend* const backend_;
  std::vector<Layer> layers_;
  std::unique_ptr<DeviceTensor> gate_, up_;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_MODEL_FEED_FORWARD_H_
