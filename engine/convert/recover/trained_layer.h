// A layer of the converted model, forward and backward: attention that is trained between the parts
// of the source that are not.
//
// N tokens, D = hidden_size.
#ifndef TRANSMLA_ENGINE_CONVERT_RECOVER_TRAINED_LAYER_H_
#define TRANSMLA_ENGINE_CONVERT_RECOVER_TRAINED_LAYER_H_

#include "absl/status/status.h"

#include "engine/convert/recover/frozen_feed_forward.h"
#include "engine/convert/recover/frozen_model.h"
#include "engine/convert/recover/latent_attention.h"
#include "engine/convert/recover/normed_heads.h"
#include "engine/linalg/float_product.h"

namespace transmla {

// A layer, or what of it is needed both ways.
struct TrainedLayer {
  const FrozenModel* model = nullptr;
  int layer = 0;
  AttentionShape shape;
  const AttentionParameters* parameters = nullptr;
};

// What LayerBackward needs of LayerForward.
struct LayerTape {
  FloatMatrix in;         // residual stream before the layer, [N, D]
  NormedHeadsTape heads;  // of models with norms of queries and keys
  FloatMatrix attended;   // of models with norms behind blocks: what the norm gets, [N, D]
  FloatMatrix mid;        // residual stream before the feed-forward block, [N, D]
  FloatMatrix fed;        // as `attended`
  AttentionTape attention;
  FeedForwardTape feed_forward;
};

// Adds what the layer does to the residual stream of whole sequences, [N, D]. Errors as
// FrozenModel's.
absl::Status LayerForward(const TrainedLayer& layer, FloatMatrix* hidden, LayerTape* tape);
// From the gradient of the layer's output to that of its input, in place; adds those of its
// parameters to `own`.
absl::Status LayerBackward(const TrainedLayer& layer, const LayerTape& tape, FloatMatrix* gradient,
                           AttentionParameters* own);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_RECOVER_TRAINED_LAYER_H_
