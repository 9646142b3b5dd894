#include "engine/model/decoder.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "engine/base/status.h"
#include "engine/model/attention.h"
#include "engine/model/family.h"
#include "engine/model/feed_forward.h"
#include "engine/model/weights.h"

namespace transmla {
namespace {

class DecoderImpl : public Decoder {
 public:
  DecoderImpl(ModelSpec spec, Backend* backend)
      : spec_(std::move(spec)), backend_(backend), feed_forward_(spec_, backend) {}

  absl::Status Load(std::shared_ptr<const CheckpointReader> checkpoint, const StepLimits& limits) {
    ASSIGN_OR_RETURN(const Family* family, FindFamily(*checkpoint));
    const bool gguf = checkpoint->format() == CheckpointFormat::kGguf;
    const TensorNames& names = gguf ? GgufNames() : HuggingFaceNames();
    const bool mla = spec_.attention == AttentionKind::kMla;
    const bool interleaved_rope =
        mla ? checkpoint->config().rope_interleave : gguf && family->gguf_interleaves_rope;
    WeightLoader loader(checkpoint, backend_);

    attention_ = (mla ? LoadMlaAttention : LoadGqaAttention)(spec_, names, interleaved_rope, loader,
                                                             backend_);
    feed_forward_.Load(names, loader);
    for (int i = 0; i < spec_.num_layers; ++i) {
      attention_norms_.push_back(
          loader.Vector(LayerName(names.attention_norm, i), spec_.hidden_size));
      feed_forward_norms_.push_back(
          loader.Vector(LayerName(names.feed_forward_norm, i), spec_.hidden_size));
    }
    LoadEnds(names, loader);
    weight_bytes_ = loader.bytes();
    RETURN_IF_ERROR(loader.Finish(names, spec_.num_layers));
    return Allocate(limits);
  }

  const ModelSpec& spec() const override { return spec_; }
  int64_t weight_bytes() const override { return weight_bytes_; }

  absl::StatusOr<absl::Span<const float>> Run(const RaggedBatch& batch, KvStore* store,
                                              DecoderObserver* observer) override {
    RETURN_IF_ERROR(backend_->Begin(batch));
    const int64_t tokens = batch.tokens();
    const MutableTensorView hidden = hidden_->Rows(tokens);
    const MutableTensorView normed = normed_->Rows(tokens);
    RETURN_IF_ERROR(backend_->Embedding(
        {.table = embedding_.get(), .scale = spec_.embedding_scale, .out = hidden}));
    for (int layer = 0; layer < spec_.num_layers; ++layer) {
      RETURN_IF_ERROR(Normalize(hidden, attention_norms_[layer], normed));
      if (observer != nullptr) RETURN_IF_ERROR(observer->OnAttentionInput(layer, normed));
      RETURN_IF_ERROR(attention_->Run({.tokens = tokens,
                                       .layer = layer,
                                       .normed = normed,
                                       .hidden = hidden,
                                       .store = store,
                                       .observer = observer}));
      RETURN_IF_ERROR(Normalize(hidden, feed_forward_norms_[layer], normed));
      RETURN_IF_ERROR(feed_forward_.Run(layer, normed, hidden));
      if (observer != nullptr) RETURN_IF_ERROR(observer->OnLayerOutput(layer, hidden));
    }
    return backend_->Finish({.hidden = hidden,
                             .norm_weight = final_norm_.get(),
                             .norm_eps = spec_.norm_eps,
                             .output = output_.get()});
  }

 private:
  // After the weights have proved that the shapes are real: a few words in a config.json must not
  // take all memory.
  absl::Status Allocate(const StepLimits& limits) {
    RETURN_IF_ERROR(backend_->Prepare(limits));
    ASSIGN_OR_RETURN(hidden_, backend_->NewTensor(Shape({limits.max_tokens, spec_.hidden_size})));
    ASSIGN_OR_RETURN(normed_, backend_->NewTensor(Shape({limits.max_tokens, spec_.hidden_size})));
    RETURN_IF_ERROR(feed_forward_.Allocate(limits));
    return attention_->Allocate(limits);
  }

  // Embedding, final norm and output projection; a tied model has one matrix for both ends.
  void LoadEnds(const TensorNames& names, WeightLoader& loader) {
    embedding_ = loader.Matrix(std::string(names.embedding), spec_.vocab_size, spec_.hidden_size,
                               {}, WeightRole::kEmbedding);
    final_norm_ = loader.Vector(std::string(names.final_norm), spec_.hidden_size);
    const std::string output(names.output);
    if (spec_.tie_word_embeddings) {
      loader.Ignore(output);  // some tied checkpoints store the shared matrix twice
      output_ = embedding_;
    } else {
      output_ = loader.Matrix(output, spec_.vocab_size, spec_.hidden_size);
    }
  }

  absl::Status Normalize(const MutableTensorView& in, const WeightPtr& weight,
                         const MutableTensorView& out) {
    return backend_->Norm({.in = in, .weight = weight.get(), .eps = spec_.norm_eps, .out = out});
  }

  const ModelSpec spec_;
  Backend* const backend_;
  FeedForward feed_forward_;
  std::unique_ptr<Attention> attention_;
  std::vector<WeightPtr> attention_norms_, feed_forward_norms_;
  WeightPtr embedding_, final_norm_, output_;
  std::unique_ptr<DeviceTensor> hidden_, normed_;
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
