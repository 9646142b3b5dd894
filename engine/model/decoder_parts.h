// The parts that a decoder is made of: its layers, and what stands before and behind them.
#ifndef TRANSMLA_ENGINE_MODEL_DECODER_PARTS_H_
#define TRANSMLA_ENGINE_MODEL_DECODER_PARTS_H_

#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "engine/backend/backend.h"
#include "engine/model/attention.h"
#include "engine/model/decoder.h"
#include "engine/model/family.h"
#include "engine/model/feed_forward.h"
#include "engine/model/model_spec.h"
#include "engine/model/weights.h"

namespace transmla {

// The layers that a loader wants. Thread-compatible.
class DecoderLayers {
 public:
  // `spec` must outlive it.
  DecoderLayers(const ModelSpec& spec, Backend* backend) : spec_(spec), backend_(backend) {}

  // For steps within `limits`. Problems with tensors are noted in `loader`.
  void Load(const TensorNames& names, bool interleaved_rope, const StepLimits& limits,
            WeightLoader& loader);
  // Working memory, before the first Run and after the weights have proved that the shapes are
  // real: a few words in a config.json must not take all memory.
  absl::Status Allocate(const StepLimits& limits);
  // What layer `layer` makes of the residual stream, in place, [tokens, hidden_size]; it uses layer
  // `cache_layer` of `store`.
  absl::Status Run(int layer, const MutableTensorView& hidden, KvStore* store, int cache_layer,
                   DecoderObserver* observer);
  // The first half of that: attention with its norms and the residual connection around it.
  absl::Status RunAttention(int layer, const MutableTensorView& hidden, KvStore* store,
                            int cache_layer, DecoderObserver* observer);

 private:
  // Of one layer. The post norms are null in models without.
  struct Norms {
    WeightPtr attention, post_attention, feed_forward, post_feed_forward;
  };

  // What blocks write to, for a step of that residual stream.
  MutableTensorView BlockOutput(const MutableTensorView& hidden) const {
    return spec_.post_norms ? block_->Rows(hidden.shape[0]) : hidden;
  }
  absl::Status Normalize(const MutableTensorView& in, const WeightPtr& weight,
                         const MutableTensorView& out);
  // The norm behind a block, and the residual connection. Without such a norm the block has added
  // its result itself.
  absl::Status AddNormed(const MutableTensorView& in, const WeightPtr& weight,
                         const MutableTensorView& hidden);

  const ModelSpec& spec_;
  Backend* const backend_;
  std::unique_ptr<Attention> attention_;
  std::unique_ptr<FeedForward> feed_forward_;
  std::vector<Norms> norms_;
  std::unique_ptr<DeviceTensor> normed_, block_;
};

// Embedding, final norm and output projection; a tied model has one matrix for both ends.
class DecoderEnds {
 public:
  // `spec` must outlive it.
  DecoderEnds(const ModelSpec& spec, Backend* backend) : spec_(spec), backend_(backend) {}

  // Problems with tensors are noted in `loader`.
  void Load(const TensorNames& names, WeightLoader& loader);
  // The residual stream of the step's tokens, [tokens, hidden_size].
  absl::Status Embed(const MutableTensorView& hidden);
  // Ends the step, as Backend::Finish.
  absl::StatusOr<absl::Span<const float>> Finish(const TensorView& hidden);

 private:
  const ModelSpec& spec_;
  Backend* const backend_;
  WeightPtr embedding_, final_norm_, output_;
};

// How the tensors of a checkpoint are named and laid out.
struct TensorLayout {
  const TensorNames* names = nullptr;  // static
  bool interleaved_rope = false;       // rotary pairs are neighbouring rows of projections
  float norm_offset = 0;               // Family::NormOffset
};
absl::StatusOr<TensorLayout> LayoutOf(const CheckpointReader& checkpoint, const ModelSpec& spec);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_MODEL_DECODER_PARTS_H_
