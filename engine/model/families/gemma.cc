// Gemma 2 and 3: llama with norms behind its blocks too, norm weights of 1 + w, scaled embeddings,
// gelu, and windows in most layers. Gemma 2 has soft caps; Gemma 3 has norms of queries and keys
// instead, and another base of RoPE in layers with a window.
#include <cmath>

#include "absl/strings/str_cat.h"

#include "engine/base/status.h"
#include "engine/model/family.h"
#include "engine/model/gqa_features.h"
#include "engine/model/rope.h"

namespace transmla {
namespace {

// Every that many layers one sees the whole context, where the config does not say.
constexpr int kGemma2Pattern = 2;
constexpr int kGemma3Pattern = 6;
// Of the layers with a window in Gemma 3 files that do not give it: GGUF files before the key was.
constexpr double kGemma3LocalBase = 10000.0;

const TensorNames& HfNames() {
  static const TensorNames* const names = [] {
    auto* made = new TensorNames(HuggingFaceNames());
    made->post_attention_norm = "model.layers.$.post_attention_layernorm.weight";
    made->feed_forward_norm = "model.layers.$.pre_feedforward_layernorm.weight";
    made->post_feed_forward_norm = "model.layers.$.post_feedforward_layernorm.weight";
    return made;
  }();
  return *names;
}

const TensorNames& LlamaCppNames() {
  static const TensorNames* const names = [] {
    auto* made = new TensorNames(GgufNames());
    made->post_attention_norm = "blk.$.post_attention_norm.weight";
    made->post_feed_forward_norm = "blk.$.post_ffw_norm.weight";
    return made;
  }();
  return *names;
}

// config.json gives what scores are divided by the root of. GGUF files do not: it is the head's
// width, but in the largest model of each generation, which llama.cpp tells by its number of
// layers, hidden_size / num_attention_heads.
absl::StatusOr<double> ScoreDivisor(const CheckpointReader& checkpoint, int layers_of_largest) {
  const Config& config = checkpoint.config();
  if (checkpoint.format() == CheckpointFormat::kGguf) {
    return config.num_hidden_layers == layers_of_largest
               ? static_cast<double>(config.hidden_size) /
                     static_cast<double>(config.num_attention_heads)
               : static_cast<double>(config.head_dim);
  }
  if (!config.query_pre_attn_scalar) {
    return absl::InvalidArgumentError(
        absl::StrCat(checkpoint.path(), ": query_pre_attn_scalar is missing in config.json"));
  }
  return *config.query_pre_attn_scalar;
}

// What both generations share. `pattern`: one layer in so many sees all.
absl::StatusOr<ModelSpec> GemmaFeatures(const CheckpointReader& checkpoint, int64_t pattern,
                                        int layers_of_largest) {
  const Config& config = checkpoint.config();
  ASSIGN_OR_RETURN(ModelSpec spec, GqaFeatures(checkpoint, {.hidden_act = "gelu_pytorch_tanh",
                                                            .activation = Activation::kGeluTanh,
                                                            .sliding_window = true}));
  if (config.layer_is_windowed.empty() && spec.HasWindow()) {
    for (int64_t i = pattern - 1; i < spec.num_layers; i += pattern) spec.sliding_window[i] = 0;
  }
  ASSIGN_OR_RETURN(const double divisor, ScoreDivisor(checkpoint, layers_of_largest));
  spec.attention_scale = static_cast<float>(1 / std::sqrt(divisor));
  spec.attention_soft_cap = static_cast<float>(config.attn_logit_softcapping.value_or(0));
  spec.final_soft_cap = static_cast<float>(config.final_logit_softcapping.value_or(0));
  spec.embedding_scale = std::sqrt(static_cast<float>(spec.hidden_size));
  spec.post_norms = true;
  return spec;
}

absl::StatusOr<ModelSpec> Gemma2Features(const CheckpointReader& checkpoint) {
  constexpr int kLayersOf27B = 46;
  return GemmaFeatures(checkpoint, kGemma2Pattern, kLayersOf27B);
}

absl::StatusOr<ModelSpec> Gemma3Features(const CheckpointReader& checkpoint) {
  constexpr int kLayersOf27B = 62;
  const Config& config = checkpoint.config();
  const int64_t pattern =
      config.sliding_window_pattern > 0 ? config.sliding_window_pattern : kGemma3Pattern;
  ASSIGN_OR_RETURN(ModelSpec spec, GemmaFeatures(checkpoint, pattern, kLayersOf27B));
  spec.qk_norm = true;
  if (spec.rope_magnitude != 1) {
    return absl::UnimplementedError(absl::StrCat(
        checkpoint.path(), ": rope_scaling \"", config.rope_scaling->type,
        "\" changes the size of keys, which gemma3 models do not have in all layers; linear is ",
        "supported"));
  }
  // Windows reach few positions: their layers keep the base of the shorter context, unscaled. They
  // are those of the pattern even where the context is no longer than the window.
  ASSIGN_OR_RETURN(
      const Rope local,
      MakeRope(spec.gqa.head_dim, config.rope_local_base_freq.value_or(kGemma3LocalBase),
               std::nullopt, config.max_position_embeddings));
  for (int i = 0; i < spec.num_layers; ++i) {
    const bool windowed =
        config.layer_is_windowed.empty() ? (i + 1) % pattern != 0 : config.layer_is_windowed[i];
    if (windowed) spec.inv_freq[i] = local.inv_freq;
  }
  return spec;
}

}  // namespace

const Family kGemma2 = {
    .name = "gemma2",
    .architectures = {"Gemma2ForCausalLM", "gemma2"},
    .hugging_face_norm_offset = 1,
    .hugging_face_names = HfNames,
    .gguf_names = LlamaCppNames,
    .features = Gemma2Features,
};

const Family kGemma3 = {
    .name = "gemma3",
    .architectures = {"Gemma3ForCausalLM", "gemma3"},
    .hugging_face_norm_offset = 1,
    .hugging_face_names = HfNames,
    .gguf_names = LlamaCppNames,
    .features = Gemma3Features,
};

}  // namespace transmla
