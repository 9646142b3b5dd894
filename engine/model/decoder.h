// Decoder: the one forward pass of every family, from token ids to logits, on any backend.
//
// Thread-compatible: one caller at a time. The backend must outlive it.
#ifndef TRANSMLA_ENGINE_MODEL_DECODER_H_
#define TRANSMLA_ENGINE_MODEL_DECODER_H_

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include "engine/backend/backend.h"
#include "engine/format/checkpoint.h"
#include "engine/model/model_spec.h"

namespace transmla {

// Sees activations between operations: calibration, tracing in tests. Called on the thread that
// runs the step; a view is in the backend's memory (Backend::Read copies it out) and valid during
// the call only.
class DecoderObserver {
 public:
  virtual ~DecoderObserver() = default;
  // Before the step's first operation. Valid during the call only.
  virtual absl::Status OnStep(const RaggedBatch& batch) {
    (void)batch;
    return absl::OkStatus();
  }
  // After the attention norm of `layer`: what the q, k and v projections see. [tokens, hidden_size]
  virtual absl::Status OnAttentionInput(int layer, const TensorView& hidden) {
    (void)layer, (void)hidden;
    return absl::OkStatus();
  }
  // GQA models: outputs of the projections, biases and norms of heads included, before RoPE. q
  // [tokens, H, d], k and v [tokens, G, d]
  virtual absl::Status OnProjections(int layer, const TensorView& q, const TensorView& k,
                                     const TensorView& v) {
    (void)layer, (void)q, (void)k, (void)v;
    return absl::OkStatus();
  }
  // MLA models: outputs of the projections, biases included, before the latent's norm and RoPE.
  // q [tokens, H, qk_nope_head_dim + qk_rope_head_dim], kv [tokens, kv_lora_rank +
  // qk_rope_head_dim]
  virtual absl::Status OnLatentProjections(int layer, const TensorView& q, const TensorView& kv) {
    (void)layer, (void)q, (void)kv;
    return absl::OkStatus();
  }
  // What the output projection sees. [tokens, H, v_head_dim or d]
  virtual absl::Status OnAttentionOutput(int layer, const TensorView& attention) {
    (void)layer, (void)attention;
    return absl::OkStatus();
  }
  // The residual stream after `layer`. [tokens, hidden_size]
  virtual absl::Status OnLayerOutput(int layer, const TensorView& hidden) {
    (void)layer, (void)hidden;
    return absl::OkStatus();
  }
};

class Decoder {
 public:
  virtual ~Decoder() = default;
  virtual const ModelSpec& spec() const = 0;
  // Bytes of weights on the device, each shared weight once.
  virtual int64_t weight_bytes() const = 0;

  // Computes one step and writes its tokens' cache rows to `store`.
  // Returns the logits of batch.logit_tokens, [logit_tokens, vocab_size] in host memory, valid
  // until the next Run.
  virtual absl::StatusOr<absl::Span<const float>> Run(const RaggedBatch& batch, KvStore* store,
                                                      DecoderObserver* observer = nullptr) = 0;
};

// Finds the family of `checkpoint`, loads every weight onto `backend` and prepares it for steps
// within `limits`. The checkpoint is kept alive as long as weights point into it. InvalidArgument
// lists every missing, unexpected or misshapen tensor at once; Unimplemented names an unknown
// architecture and those that are supported.
absl::StatusOr<std::unique_ptr<Decoder>> LoadDecoder(
    std::shared_ptr<const CheckpointReader> checkpoint, Backend* backend, const StepLimits& limits);

// The features of `checkpoint` without loading a weight (reads small tensors such as inverse
// frequencies).
absl::StatusOr<ModelSpec> ReadModelSpec(const CheckpointReader& checkpoint);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_MODEL_DECODER_H_
