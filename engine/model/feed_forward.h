// Feed-forward block of a layer, one network or a mixture of experts: its result is added to the
// residual stream or, where a norm stands between, written to a tensor of its own.
#ifndef TRANSMLA_ENGINE_MODEL_FEED_FORWARD_H_
#define TRANSMLA_ENGINE_MODEL_FEED_FORWARD_H_

#include <memory>

#include "absl/status/status.h"

#include "engine/backend/backend.h"
#include "engine/model/model_spec.h"
#include "engine/model/weights.h"

namespace transmla {

// One step of one layer.
struct FeedForwardStep {
  int layer = 0;
  TensorView normed;       // [tokens, hidden_size]
  MutableTensorView out;   // [tokens, hidden_size]
  bool accumulate = true;  // added to `out`; else written
};

// Holds the weights of the layers that its loader wants, and the buffers that layers share.
// Thread-compatible.
class FeedForward {
 public:
  virtual ~FeedForward() = default;
  // Working memory, before the first Run.
  virtual absl::Status Allocate(const StepLimits& limits) = 0;
  virtual absl::Status Run(const FeedForwardStep& step) = 0;
};

// Both load the weights of their layers that `loader` wants; problems with tensors are noted in
// `loader`.

// down(activation(gate(x)) · up(x)), in every layer without experts.
std::unique_ptr<FeedForward> LoadGatedFeedForward(const ModelSpec& spec, const TensorNames& names,
                                                  WeightLoader& loader, Backend* backend);
// Σ weight · expert(x) over the experts that the router gives a token; an expert computes as above.
// Runs the layers without experts too. REQUIRES: a layer of `spec` has experts.
std::unique_ptr<FeedForward> LoadMoeFeedForward(const ModelSpec& spec, const TensorNames& names,
                                                WeightLoader& loader, Backend* backend);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_MODEL_FEED_FORWARD_H_
