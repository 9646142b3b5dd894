#include "engine/model/layer_decoder.h"

#include <utility>

#include "engine/base/status.h"
#include "engine/model/decoder_parts.h"

namespace transmla {

LayerDecoder::LayerDecoder(const ModelSpec& spec, int layer, Backend* backend)
    : spec_(spec),
      layer_(layer),
      backend_(backend),
      layers_(std::make_unique<DecoderLayers>(spec, backend)) {}

LayerDecoder::~LayerDecoder() = default;

EndsDecoder::EndsDecoder(const ModelSpec& spec, Backend* backend)
    : backend_(backend), ends_(std::make_unique<DecoderEnds>(spec, backend)) {}

EndsDecoder::~EndsDecoder() = default;

absl::StatusOr<std::unique_ptr<LayerDecoder>> LayerDecoder::Load(
    std::shared_ptr<const CheckpointReader> checkpoint, const ModelSpec& spec, int layer,
    Backend* backend, const StepLimits& limits) {
  ASSIGN_OR_RETURN(const TensorLayout layout, LayoutOf(*checkpoint, spec));
  std::unique_ptr<LayerDecoder> decoder(new LayerDecoder(spec, layer, backend));
  WeightLoader loader(std::move(checkpoint), backend, layout.norm_offset, {layer, layer + 1});
  decoder->layers_->Load(*layout.names, layout.interleaved_rope, limits, loader);
  RETURN_IF_ERROR(loader.FinishPart());
  RETURN_IF_ERROR(backend->Prepare(limits));
  ASSIGN_OR_RETURN(decoder->hidden_,
                   backend->NewTensor(Shape({limits.max_tokens, spec.hidden_size})));
  RETURN_IF_ERROR(decoder->layers_->Allocate(limits));
  return decoder;
}

absl::StatusOr<std::unique_ptr<KvStore>> LayerDecoder::CreateKvStore(DType dtype, int pages) const {
  KvLayout layout = spec_.CacheLayout(dtype);
  layout.num_layers = 1;
  return backend_->CreateKvStore(layout, pages);
}

absl::StatusOr<MutableTensorView> LayerDecoder::Begin(const RaggedBatch& batch,
                                                      absl::Span<const float> hidden,
                                                      DecoderObserver* observer) {
  if (observer != nullptr) RETURN_IF_ERROR(observer->OnStep(batch));
  RETURN_IF_ERROR(backend_->Begin(batch));
  const MutableTensorView rows = hidden_->Rows(batch.tokens());
  RETURN_IF_ERROR(backend_->Write(hidden, rows));
  return rows;
}

absl::Status LayerDecoder::Run(const RaggedBatch& batch, KvStore* store, absl::Span<float> hidden,
                               DecoderObserver* observer) {
  ASSIGN_OR_RETURN(const MutableTensorView rows, Begin(batch, hidden, observer));
  RETURN_IF_ERROR(layers_->Run(layer_, rows, store, /*cache_layer=*/0, observer));
  return backend_->Read(rows, hidden);
}

absl::Status LayerDecoder::Attend(const RaggedBatch& batch, KvStore* store,
                                  absl::Span<const float> hidden, DecoderObserver& observer) {
  ASSIGN_OR_RETURN(const MutableTensorView rows, Begin(batch, hidden, &observer));
  return layers_->RunAttention(layer_, rows, store, /*cache_layer=*/0, &observer);
}

absl::StatusOr<std::unique_ptr<EndsDecoder>> EndsDecoder::Load(
    std::shared_ptr<const CheckpointReader> checkpoint, const ModelSpec& spec, Backend* backend,
    const StepLimits& limits) {
  ASSIGN_OR_RETURN(const TensorLayout layout, LayoutOf(*checkpoint, spec));
  std::unique_ptr<EndsDecoder> decoder(new EndsDecoder(spec, backend));
  WeightLoader loader(std::move(checkpoint), backend, layout.norm_offset, {});
  decoder->ends_->Load(*layout.names, loader);
  RETURN_IF_ERROR(loader.FinishPart());
  RETURN_IF_ERROR(backend->Prepare(limits));
  ASSIGN_OR_RETURN(decoder->hidden_,
                   backend->NewTensor(Shape({limits.max_tokens, spec.hidden_size})));
  return decoder;
}

absl::Status EndsDecoder::Embed(const RaggedBatch& batch, absl::Span<float> hidden) {
  RETURN_IF_ERROR(backend_->Begin(batch));
  const MutableTensorView rows = hidden_->Rows(batch.tokens());
  RETURN_IF_ERROR(ends_->Embed(rows));
  return backend_->Read(rows, hidden);
}

absl::StatusOr<absl::Span<const float>> EndsDecoder::Logits(const RaggedBatch& batch,
                                                            absl::Span<const float> hidden) {
  RETURN_IF_ERROR(backend_->Begin(batch));
  const MutableTensorView rows = hidden_->Rows(batch.tokens());
  RETURN_IF_ERROR(backend_->Write(hidden, rows));
  return ends_->Finish(rows);
}

}  // namespace transmla
