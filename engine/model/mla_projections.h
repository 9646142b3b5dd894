// What a latent layer's queries and cache rows are made with: projections, biases and the norms
// between them.
//
// Either as DeepSeek has it, one matrix for each or two for queries, or, in models whose source
// normed heads of queries and keys, the source's projections and norms with linear maps behind them
// (docs/checkpoint_format.md).
#ifndef TRANSMLA_ENGINE_MODEL_MLA_PROJECTIONS_H_
#define TRANSMLA_ENGINE_MODEL_MLA_PROJECTIONS_H_

#include <memory>

#include "absl/status/status.h"

#include "engine/backend/backend.h"
#include "engine/model/model_spec.h"
#include "engine/model/weights.h"

namespace transmla {

// Holds the weights of all layers and the buffers that layers share. Thread-compatible.
class MlaProjections {
 public:
  virtual ~MlaProjections() = default;
  // Working memory, before the first Run.
  virtual absl::Status Allocate(const StepLimits& limits) = 0;
  // Of `hidden` [tokens, hidden_size], before the latent's norm and RoPE.
  virtual absl::Status Run(int layer, const TensorView& hidden,
                           const MutableTensorView& q,        // [tokens, H, Dn + Dr]
                           const MutableTensorView& kv) = 0;  // [tokens, R + Dr]
};

// Loads the weights of every layer; problems with tensors are noted in `loader`.
std::unique_ptr<MlaProjections> LoadMlaProjections(const ModelSpec& spec, const TensorNames& names,
                                                   bool interleaved_rope, WeightLoader& loader,
                                                   Backend* backend);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_MODEL_MLA_PROJECTIONS_H_
