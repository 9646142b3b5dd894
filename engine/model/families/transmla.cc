// Converted models (docs/checkpoint_format.md), also as GGUF, and DeepSeek-V2/V3 models without
// experts, whose layout they share. DeepSeek's experts are chosen in other ways than those of
// models that convert.
#include <cmath>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "engine/base/status.h"
#include "engine/model/family.h"
#include "engine/model/moe_features.h"
#include "engine/model/rope.h"

namespace transmla {
namespace {

const TensorNames& NamesIn(const CheckpointReader& checkpoint) {
  return checkpoint.format() == CheckpointFormat::kGguf ? LatentGgufNames() : HuggingFaceNames();
}

// This layer's frequencies as the conversion chose them, or nothing.
absl::StatusOr<std::vector<float>> StoredFrequencies(const CheckpointReader& checkpoint, int layer,
                                                     int pairs) {
  const absl::string_view pattern = NamesIn(checkpoint).inv_freq;
  // In every layer or in none: the first decides.
  if (!checkpoint.Has(LayerName(pattern, 0))) return std::vector<float>();
  const std::string name = LayerName(pattern, layer);
  ASSIGN_OR_RETURN(const TensorView view, checkpoint.Tensor(name));
  if (view.dtype != DType::kF32 || view.shape.elements() != pairs) {
    return absl::InvalidArgumentError(
        absl::StrCat(checkpoint.path(), ": ", name, " is ", DTypeName(view.dtype), " ",
                     view.shape.ToString(), "; expected f32 [", pairs, "]"));
  }
  std::vector<float> frequencies(pairs);
  std::memcpy(frequencies.data(), view.data, pairs * sizeof(float));
  return frequencies;
}

absl::Status ReadRope(const CheckpointReader& checkpoint, ModelSpec& spec) {
  const Config& config = checkpoint.config();
  ASSIGN_OR_RETURN(const Rope rope, MakeRope(spec.mla.qk_rope_head_dim, config.rope_theta,
                                             config.rope_scaling, config.max_position_embeddings));
  spec.rope_magnitude = rope.magnitude;
  for (int layer = 0; layer < spec.num_layers; ++layer) {
    ASSIGN_OR_RETURN(std::vector<float> stored,
                     StoredFrequencies(checkpoint, layer, spec.mla.qk_rope_head_dim / 2));
    spec.inv_freq.push_back(stored.empty() ? rope.inv_freq : std::move(stored));
  }
  return absl::OkStatus();
}

absl::StatusOr<ModelSpec> Features(const CheckpointReader& checkpoint) {
  const Config& config = checkpoint.config();
  const MoeSpec moe = MoeFeatures(config);
  if (moe.num_experts > 0 && absl::StartsWith(config.architecture, "Deepseek")) {
    return absl::UnimplementedError(absl::StrCat(checkpoint.path(), ": n_routed_experts is ",
                                                 moe.num_experts, "; ", config.architecture,
                                                 " models with experts are not supported yet"));
  }
  if (config.architecture == "deepseek2" && (moe.num_experts > 0 || config.rope_scaling)) {
    return absl::UnimplementedError(
        absl::StrCat(checkpoint.path(), ": GGUF files of architecture deepseek2 with experts or ",
                     "scaled RoPE are not supported; use the model's safetensors"));
  }
  if (config.partial_rotary_factor != 1) {
    return absl::UnimplementedError(absl::StrCat(checkpoint.path(), ": partial_rotary_factor is ",
                                                 config.partial_rotary_factor,
                                                 "; latent models need it to be 1"));
  }
  if (config.hidden_act != "silu" || config.qk_rope_head_dim < 2 ||
      config.qk_rope_head_dim % 2 != 0 || !(config.rope_theta > 0)) {
    return absl::InvalidArgumentError(
        absl::StrCat(checkpoint.path(), ": hidden_act must be silu (\"", config.hidden_act,
                     "\"), qk_rope_head_dim even and at least 2 (", config.qk_rope_head_dim,
                     ") and rope_theta positive (", config.rope_theta, ")"));
  }
  ModelSpec spec = CommonFeatures(checkpoint);
  const TensorNames& names = NamesIn(checkpoint);
  spec.moe = moe;
  spec.attention = AttentionKind::kMla;
  spec.mla = {.num_attention_heads = static_cast<int>(config.num_attention_heads),
              .q_lora_rank = static_cast<int>(config.q_lora_rank),
              .kv_lora_rank = static_cast<int>(config.kv_lora_rank),
              .qk_nope_head_dim = static_cast<int>(config.qk_nope_head_dim),
              .qk_rope_head_dim = static_cast<int>(config.qk_rope_head_dim),
              .v_head_dim = static_cast<int>(config.v_head_dim),
              .latent_norm = config.has_latent_norm};
  RETURN_IF_ERROR(ReadRope(checkpoint, spec));
  spec.qkv_bias = checkpoint.Has(LayerName(names.kv_a, 0) + ".bias");
  spec.output_bias = checkpoint.Has(LayerName(names.attention_output, 0) + ".bias");
  const double width = spec.mla.qk_nope_head_dim + spec.mla.qk_rope_head_dim;
  spec.attention_scale = static_cast<float>(config.attention_scale.value_or(1 / std::sqrt(width)));
  // DeepSeek's YaRN scales the scores once more by the square of its magnitude over all dimensions.
  if (const auto& scaling = config.rope_scaling;
      !config.attention_scale && scaling && scaling->type == "yarn" &&
      scaling->mscale_all_dim.value_or(0) != 0 && scaling->factor > 1) {
    const double m = 0.1 * *scaling->mscale_all_dim * std::log(scaling->factor) + 1;
    spec.attention_scale *= static_cast<float>(m * m);
  }
  spec.source_cache_values = static_cast<int>(config.source_cache_values_per_token > 0
                                                  ? config.source_cache_values_per_token
                                                  : config.kv_lora_rank + config.qk_rope_head_dim);
  return spec;
}

}  // namespace

const Family kTransMla = {
    .name = "transmla",
    .architectures = {"TransMlaForCausalLM", "TransMLAForCausalLM", "DeepseekV3ForCausalLM",
                      "DeepseekV2ForCausalLM", "transmla", "deepseek2"},
    .gguf_names = LatentGgufNames,
    .features = Features,
};

}  // namespace transmla
