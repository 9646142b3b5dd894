// Attention block of a layer: projections, cache write, attention, output projection, which is
// added to the residual stream or, where a norm stands between, written to a tensor of its own.
#ifndef TRANSMLA_ENGINE_MODEL_ATTENTION_H_
#define TRANSMLA_ENGINE_MODEL_ATTENTION_H_

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "engine/backend/backend.h"
#include "engine/model/decoder.h"
#include "engine/model/weights.h"

namespace transmla {

// One step of one layer.
struct AttentionStep {
  int64_t tokens = 0;
  int layer = 0;
  int cache_layer = 0;     // of `store`
  TensorView normed;       // [tokens, hidden_size]: input of the projections
  MutableTensorView out;   // [tokens, hidden_size]
  bool accumulate = true;  // added to `out`; else written
  KvStore* store = nullptr;
  DecoderObserver* observer = nullptr;  // may be null
};

// Holds the weights of the layers that its loader wants, and the buffers that layers share.
// Thread-compatible.
class Attention {
 public:
  virtual ~Attention() = default;
  // Working memory, before the first Run.
  virtual absl::Status Allocate(const StepLimits& limits) = 0;
  virtual absl::Status Run(const AttentionStep& step) = 0;
};

// Both load the weights of every layer that `loader` wants; problems with tensors are noted in
// `loader`. With `expanded`, a latent model can attend in expanded form (StepLimits).
std::unique_ptr<Attention> LoadGqaAttention(const ModelSpec& spec, const TensorNames& names,
                                            bool interleaved_rope, WeightLoader& loader,
                                            Backend* backend);
std::unique_ptr<Attention> LoadMlaAttention(const ModelSpec& spec, const TensorNames& names,
                                            bool interleaved_rope, bool expanded,
                                            WeightLoader& loader, Backend* backend);

// `view` with another shape of the same number of elements.
inline MutableTensorView Reshape(const MutableTensorView& view, const Shape& shape) {
  return {view.data, view.dtype, shape};
}

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_MODEL_ATTENTION_H_
