// Parts of a model that run on their own, for those who cannot or need not hold all of it: memory
// is that of one layer's weights.
//
// Both compute what a Decoder computes there, bit for bit. Thread-compatible; the backend and the
// spec must outlive them. `spec` is the model's, not the part's: ReadModelSpec of the whole. A
// backend runs one of them, or one Decoder, at a time: making one prepares it anew.
#ifndef TRANSMLA_ENGINE_MODEL_LAYER_DECODER_H_
#define TRANSMLA_ENGINE_MODEL_LAYER_DECODER_H_

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include "engine/backend/backend.h"
#include "engine/format/checkpoint.h"
#include "engine/model/decoder.h"
#include "engine/model/model_spec.h"

namespace transmla {

class DecoderEnds;
class DecoderLayers;

class LayerDecoder {
 public:
  ~LayerDecoder();
  // Errors as LoadDecoder, of that layer's tensors; `checkpoint` need not hold others.
  static absl::StatusOr<std::unique_ptr<LayerDecoder>> Load(
      std::shared_ptr<const CheckpointReader> checkpoint, const ModelSpec& spec, int layer,
      Backend* backend, const StepLimits& limits);

  // A cache for sequences of this layer alone.
  absl::StatusOr<std::unique_ptr<KvStore>> CreateKvStore(DType dtype, int pages) const;

  // One step: takes the residual stream of batch's tokens before the layer and gives it behind, in
  // place, [tokens, hidden_size] in host memory. `store` is CreateKvStore's.
  absl::Status Run(const RaggedBatch& batch, KvStore* store, absl::Span<float> hidden,
                   DecoderObserver* observer = nullptr);
  // The attention block of that step alone, for `observer`.
  absl::Status Attend(const RaggedBatch& batch, KvStore* store, absl::Span<const float> hidden,
                      DecoderObserver& observer);

 private:
  // The residual stream on the backend.
  absl::StatusOr<MutableTensorView> Begin(const RaggedBatch& batch, absl::Span<const float> hidden,
                                          DecoderObserver* observer);

  LayerDecoder(const ModelSpec& spec, int layer, Backend* backend);

  const ModelSpec& spec_;
  const int layer_;
  Backend* const backend_;
  std::unique_ptr<DecoderLayers> layers_;
  std::unique_ptr<DeviceTensor> hidden_;
};

class EndsDecoder {
 public:
  ~EndsDecoder();
  // Errors as LoadDecoder, of the tensors that belong to no layer.
  static absl::StatusOr<std::unique_ptr<EndsDecoder>> Load(
      std::shared_ptr<const CheckpointReader> checkpoint, const ModelSpec& spec, Backend* backend,
      const StepLimits& limits);

  // The residual stream before the first layer, [tokens, hidden_size] in host memory.
  absl::Status Embed(const RaggedBatch& batch, absl::Span<float> hidden);
  // From the residual stream behind the last layer, [tokens, hidden_size], the logits of
  // batch.logit_tokens, [logit_tokens, vocab_size]; valid until the next call.
  absl::StatusOr<absl::Span<const float>> Logits(const RaggedBatch& batch,
                                                 absl::Span<const float> hidden);

 private:
  EndsDecoder(const ModelSpec& spec, Backend* backend);

  Backend* const backend_;
  std::unique_ptr<DecoderEnds> ends_;
  std::unique_ptr<DeviceTensor> hidden_;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_MODEL_LAYER_DECODER_H_
