#include "engine/model/decoder_parts.h"

#include <string>
#include <utility>

#include "engine/base/status.h"

namespace transmla {

void DecoderLayers::Load(const TensorNames& names, bool interleaved_rope, const StepLimits& limits,
                         WeightLoader& loader) {
  attention_ = spec_.attention == AttentionKind::kMla
                   ? LoadMlaAttention(spec_, names, interleaved_rope, limits.expanded_attention,
                                      loader, backend_)
                   : LoadGqaAttention(spec_, names, interleaved_rope, loader, backend_);
  feed_forward_ = (spec_.moe.num_experts > 0 ? LoadMoeFeedForward : LoadGatedFeedForward)(
      spec_, names, loader, backend_);
  const auto load = [&](absl::string_view pattern, int layer) {
    return loader.Norm(LayerName(pattern, layer), spec_.hidden_size);
  };
  for (int i = 0; i < spec_.num_layers; ++i) {
    Norms& norms = norms_.emplace_back();
    if (!loader.Wants(i)) continue;
    norms.attention = load(names.attention_norm, i);
    norms.feed_forward = load(names.feed_forward_norm, i);
    if (spec_.post_norms) {
      norms.post_attention = load(names.post_attention_norm, i);
      norms.post_feed_forward = load(names.post_feed_forward_norm, i);
    }
  }
}

absl::Status DecoderLayers::Allocate(const StepLimits& limits) {
  const Shape shape({limits.max_tokens, spec_.hidden_size});
  ASSIGN_OR_RETURN(normed_, backend_->NewTensor(shape));
  if (spec_.post_norms) {
    ASSIGN_OR_RETURN(block_, backend_->NewTensor(shape));
  }
  RETURN_IF_ERROR(feed_forward_->Allocate(limits));
  return attention_->Allocate(limits);
}

absl::Status DecoderLayers::RunAttention(int layer, const MutableTensorView& hidden, KvStore* store,
                                         int cache_layer, DecoderObserver* observer) {
  const int64_t tokens = hidden.shape[0];
  const MutableTensorView normed = normed_->Rows(tokens);
  const MutableTensorView out = BlockOutput(hidden);
  const Norms& norms = norms_[layer];
  RETURN_IF_ERROR(Normalize(hidden, norms.attention, normed));
  if (observer != nullptr) RETURN_IF_ERROR(observer->OnAttentionInput(layer, normed));
  RETURN_IF_ERROR(attention_->Run({.tokens = tokens,
                                   .layer = layer,
                                   .cache_layer = cache_layer,
                                   .normed = normed,
                                   .out = out,
                                   .accumulate = !spec_.post_norms,
                                   .store = store,
                                   .observer = observer}));
  return AddNormed(out, norms.post_attention, hidden);
}

absl::Status DecoderLayers::Run(int layer, const MutableTensorView& hidden, KvStore* store,
                                int cache_layer, DecoderObserver* observer) {
  RETURN_IF_ERROR(RunAttention(layer, hidden, store, cache_layer, observer));
  const MutableTensorView normed = normed_->Rows(hidden.shape[0]);
  const MutableTensorView out = BlockOutput(hidden);
  const Norms& norms = norms_[layer];
  RETURN_IF_ERROR(Normalize(hidden, norms.feed_forward, normed));
  RETURN_IF_ERROR(feed_forward_->Run(
      {.layer = layer, .normed = normed, .out = out, .accumulate = !spec_.post_norms}));
  RETURN_IF_ERROR(AddNormed(out, norms.post_feed_forward, hidden));
  return observer == nullptr ? absl::OkStatus() : observer->OnLayerOutput(layer, hidden);
}

absl::Status DecoderLayers::Normalize(const MutableTensorView& in, const WeightPtr& weight,
                                      const MutableTensorView& out) {
  return backend_->Norm({.in = in, .weight = weight.get(), .eps = spec_.norm_eps, .out = out});
}

absl::Status DecoderLayers::AddNormed(const MutableTensorView& in, const WeightPtr& weight,
                                      const MutableTensorView& hidden) {
  if (weight == nullptr) return absl::OkStatus();
  return backend_->Norm(
      {.in = in, .weight = weight.get(), .eps = spec_.norm_eps, .accumulate = true, .out = hidden});
}

void DecoderEnds::Load(const TensorNames& names, WeightLoader& loader) {
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

absl::Status DecoderEnds::Embed(const MutableTensorView& hidden) {
  return backend_->Embedding(
      {.table = embedding_.get(), .scale = spec_.embedding_scale, .out = hidden});
}

absl::StatusOr<absl::Span<const float>> DecoderEnds::Finish(const TensorView& hidden) {
  return backend_->Finish({.hidden = hidden,
                           .norm_weight = final_norm_.get(),
                           .norm_eps = spec_.norm_eps,
                           .output = output_.get(),
                           .soft_cap = spec_.final_soft_cap});
}

absl::StatusOr<TensorLayout> LayoutOf(const CheckpointReader& checkpoint, const ModelSpec& spec) {
  ASSIGN_OR_RETURN(const Family* family, FindFamily(checkpoint));
  const bool gguf = checkpoint.format() == CheckpointFormat::kGguf;
  return TensorLayout{.names = &family->Names(checkpoint.format()),
                      .interleaved_rope = spec.attention == AttentionKind::kMla
                                              ? checkpoint.config().rope_interleave
                                              : gguf && family->gguf_interleaves_rope,
                      .norm_offset = family->NormOffset(checkpoint.format())};
}

}  // namespace transmla
