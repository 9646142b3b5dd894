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
  DecoderImpl(ModelSpec spec, Backend* backend) : spec_(std::move(spec)), backend_(backend) {}

  absl::Status Load(std::shared_ptr<const CheckpointReader> checkpoint, const StepLimits& limits) {
    ASSIGN_OR_RETURN(const Family* family, FindFamily(*checkpoint));
    const bool gguf = checkpoint->format() == CheckpointFormat::kGguf;
    const TensorNames& names = family->Names(checkpoint->format());
    const bool mla = spec_.attention == AttentionKind::kMla;
    const bool interleaved_rope =
        mla ? checkpoint->config().rope_interleave : gguf && family->gguf_interleaves_rope;
    WeightLoader loader(checkpoint, backend_, family->NormOffset(checkpoint->format()));

    attention_ = (mla ? LoadMlaAttention : LoadGqaAttention)(spec_, names, interleaved_rope, loader,
                                                             backend_);
    feed_forward_ = (spec_.moe.num_experts > 0 ? LoadMoeFeedForward : LoadGatedFeedForward)(
        spec_, names, loader, backend_);
    LoadNorms(names, loader);
    LoadEnds(names, loader);
    weight_bytes_ = loader.bytes();
    RETURN_IF_ERROR(loader.Finish(names, spec_.num_layers));
    return Allocate(limits);
  }

  const ModelSpec& spec() const override { return spec_; }
  int64_t weight_bytes() const override { return weight_bytes_; }

  absl::StatusOr<absl::Span<const float>> Run(const RaggedBatch& batch, KvStore* store,
                                              DecoderObserver* observer) override {
    if (observer != nullptr) RETURN_IF_ERROR(observer->OnStep(batch));
    RETURN_IF_ERROR(backend_->Begin(batch));
    const int64_t tokens = batch.tokens();
    const MutableTensorView hidden = hidden_->Rows(tokens);
    const MutableTensorView normed = normed_->Rows(tokens);
    RETURN_IF_ERROR(backend_->Embedding(
        {.table = embedding_.get(), .scale = spec_.embedding_scale, .out = hidden}));
    // What blocks write to.
    const MutableTensorView out = spec_.post_norms ? block_->Rows(tokens) : hidden;
    const bool accumulate = !spec_.post_norms;
    for (int layer = 0; layer < spec_.num_layers; ++layer) {
      const Norms& norms = norms_[layer];
      RETURN_IF_ERROR(Normalize(hidden, norms.attention, normed));
      if (observer != nullptr) RETURN_IF_ERROR(observer->OnAttentionInput(layer, normed));
      RETURN_IF_ERROR(attention_->Run({.tokens = tokens,
                                       .layer = layer,
                                       .normed = normed,
                                       .out = out,
                                       .accumulate = accumulate,
                                       .store = store,
                                       .observer = observer}));
      RETURN_IF_ERROR(AddNormed(out, norms.post_attention, hidden));
      RETURN_IF_ERROR(Normalize(hidden, norms.feed_forward, normed));
      RETURN_IF_ERROR(feed_forward_->Run(
          {.layer = layer, .normed = normed, .out = out, .accumulate = accumulate}));
      RETURN_IF_ERROR(AddNormed(out, norms.post_feed_forward, hidden));
      if (observer != nullptr) RETURN_IF_ERROR(observer->OnLayerOutput(layer, hidden));
    }
    return backend_->Finish({.hidden = hidden,
                             .norm_weight = final_norm_.get(),
                             .norm_eps = spec_.norm_eps,
                             .output = output_.get(),
                             .soft_cap = spec_.final_soft_cap});
  }

 private:
  // Of one layer. The post norms are null in models without.
  struct Norms {
    WeightPtr attention, post_attention, feed_forward, post_feed_forward;
  };

  // After the weights have proved that the shapes are real: a few words in a config.json must not
  // take all memory.
  absl::Status Allocate(const StepLimits& limits) {
    RETURN_IF_ERROR(backend_->Prepare(limits));
    ASSIGN_OR_RETURN(hidden_, backend_->NewTensor(Shape({limits.max_tokens, spec_.hidden_size})));
    ASSIGN_OR_RETURN(normed_, backend_->NewTensor(Shape({limits.max_tokens, spec_.hidden_size})));
    if (spec_.post_norms) {
      ASSIGN_OR_RETURN(block_, backend_->NewTensor(Shape({limits.max_tokens, spec_.hidden_size})));
    }
    RETURN_IF_ERROR(feed_forward_->Allocate(limits));
    return attention_->Allocate(limits);
  }

  void LoadNorms(const TensorNames& names, WeightLoader& loader) {
    const auto load = [&](absl::string_view pattern, int layer) {
      return loader.Norm(LayerName(pattern, layer), spec_.hidden_size);
    };
    for (int i = 0; i < spec_.num_layers; ++i) {
      Norms norms{.attention = load(names.attention_norm, i),
                  .feed_forward = load(names.feed_forward_norm, i)};
      if (spec_.post_norms) {
        norms.post_attention = load(names.post_attention_norm, i);
        norms.post_feed_forward = load(names.post_feed_forward_norm, i);
      }
      norms_.push_back(std::move(norms));
    }
  }

  // Embedding, final norm and output projection; a tied model has one matrix for both ends.
  void LoadEnds(const TensorNames& names, WeightLoader& loader) {
    embedding_ = loader.Matrix(
        std::string(names.embedding), spec_.vocab_size, spec_.hidden_size, {},
        spec_.tie_word_embeddings ? WeightRole::kTiedEmbedding : WeightRole::kEmbedding);
    final_norm_ = loader.Norm(std::string(names.final_norm), spec_.hidden_size);
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

  // The norm behind a block, and the residual connection. Without such a norm the block has added
  // its result itself.
  absl::Status AddNormed(const MutableTensorView& in, const WeightPtr& weight,
                         const MutableTensorView& hidden) {
    if (weight == nullptr) return absl::OkStatus();
    return backend_->Norm({.in = in,
                           .weight = weight.get(),
                           .eps = spec_.norm_eps,
                           .accumulate = true,
                           .out = hidden});
  }

  const ModelSpec spec_;
  Backend* const backend_;
  std::unique_ptr<Attention> attention_;
  std::unique_ptr<FeedForward> feed_forward_;
  std::vector<Norms> norms_;
  WeightPtr embedding_, final_norm_, output_;
  std::unique_ptr<DeviceTensor> hidden_, normed_, block_;
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
