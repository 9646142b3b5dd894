#include "engine/model/decoder.h"

#include <utility>

#include "engine/base/status.h"
#include "engine/model/decoder_parts.h"
#include "engine/model/weights.h"

namespace transmla {
namespace {

class DecoderImpl : public Decoder {
 public:
  DecoderImpl(ModelSpec spec, Backend* backend)
      : spec_(std::move(spec)), backend_(backend), layers_(spec_, backend), ends_(spec_, backend) {}

  absl::Status Load(std::shared_ptr<const CheckpointReader> checkpoint, const StepLimits& limits) {
    ASSIGN_OR_RETURN(const TensorLayout layout, LayoutOf(*checkpoint, spec_));
    WeightLoader loader(std::move(checkpoint), backend_, layout.norm_offset, {0, spec_.num_layers});
    layers_.Load(*layout.names, layout.interleaved_rope, limits, loader);
    ends_.Load(*layout.names, loader);
    weight_bytes_ = loader.bytes();
    RETURN_IF_ERROR(loader.Finish(*layout.names, spec_.num_layers));
    RETURN_IF_ERROR(backend_->Prepare(limits));
    ASSIGN_OR_RETURN(hidden_, backend_->NewTensor(Shape({limits.max_tokens, spec_.hidden_size})));
    return layers_.Allocate(limits);
  }

  const ModelSpec& spec() const override { return spec_; }
  int64_t weight_bytes() const override { return weight_bytes_; }

  absl::StatusOr<absl::Span<const float>> Run(const RaggedBatch& batch, KvStore* store,
                                              DecoderObserver* observer) override {
    if (observer != nullptr) RETURN_IF_ERROR(observer->OnStep(batch));
    RETURN_IF_ERROR(backend_->Begin(batch));
    const MutableTensorView hidden = hidden_->Rows(batch.tokens());
    RETURN_IF_ERROR(ends_.Embed(hidden));
    for (int layer = 0; layer < spec_.num_layers; ++layer)
      RETURN_IF_ERROR(layers_.Run(layer, hidden, store, layer, observer));
    return ends_.Finish(hidden);
  }

 private:
  const ModelSpec spec_;
  Backend* const backend_;
  DecoderLayers layers_;
  DecoderEnds ends_;
  std::unique_ptr<DeviceTensor> hidden_;
  int64_t weight_bytes_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Decoder>> LoadDecoder(
    std::shared_ptr<const CheckpointReader> checkpoint, Backend* backend,
    const StepLimits& limits) {
  ASSIGN_OR_RETURN(ModelSpec spec, ReadModelSpec(*checkpoint));
  auto decoder = std::make_unique<DecoderImpl>(std::move(spec), backend);
  RETURN_IF_ERROR(decoder->Load(std::move(checkpoint), limits));
  return decoder;
}

}  // namespace transmla
