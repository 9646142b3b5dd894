// Converted models (docs/checkpoint_format.md), also as GGUF, and DeepSeek-V2/V3 models, whose
// layout they share.
#include <cmath>
#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "engine/base/status.h"
#include "engine/model/family.h"
#include "engine/model/gqa_features.h"
#include "engine/model/moe_features.h"
#include "engine/model/rope.h"

namespace transmla {
namespace {

// DeepSeek's, and GLM-4's for norms behind blocks.
const TensorNames& Names() {
  static const TensorNames* const names = [] {
    auto* made = new TensorNames(HuggingFaceNames());
    made->post_attention_norm = "model.layers.$.post_self_attn_layernorm.weight";
    made->post_feed_forward_norm = "model.layers.$.post_mlp_layernorm.weight";
    made->router_bias = "model.layers.$.mlp.gate.e_score_correction_bias";
    made->shared_gate = "model.layers.$.mlp.shared_experts.gate_proj.weight";
    made->shared_up = "model.layers.$.mlp.shared_experts.up_proj.weight";
    made->shared_down = "model.layers.$.mlp.shared_experts.down_proj.weight";
    // DeepSeek-V3's layers that guess further tokens.
    made->ignored_prefixes = {"model.layers.$."};
    return made;
  }();
  return *names;
}

const TensorNames& NamesIn(const CheckpointReader& checkpoint) {
  return checkpoint.format() == CheckpointFormat::kGguf ? LatentGgufNames() : Names();
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

// How DeepSeek's models choose experts, and the experts that all tokens go to.
absl::Status ReadDeepseekExperts(const CheckpointReader& checkpoint, MoeSpec& moe) {
  const Config& config = checkpoint.config();
  // Files of transformers leave out what its classes do not vary.
  const bool v3 = config.architecture == "DeepseekV3ForCausalLM";
  const auto or_default = [](const std::string& given, const char* otherwise) {
    return given.empty() ? std::string(otherwise) : given;
  };
  const std::string score = or_default(config.scoring_func, v3 ? "sigmoid" : "softmax");
  const std::string method = or_default(config.topk_method, v3 ? "noaux_tc" : "greedy");
  const bool by_bias = method == "noaux_tc";
  if ((score != "softmax" && score != "sigmoid") ||
      (method != "greedy" && method != "group_limited_greedy" && !by_bias)) {
    return absl::UnimplementedError(absl::StrCat(
        checkpoint.path(), ": scoring_func is \"", score, "\" and topk_method \"", method,
        "\"; softmax and sigmoid, greedy, group_limited_greedy and noaux_tc are supported"));
  }
  moe.score = score == "sigmoid" ? ExpertScore::kSigmoid : ExpertScore::kSoftmax;
  moe.choice_bias = by_bias;
  if (method != "greedy") {
    moe.groups = {.count = static_cast<int>(config.n_group),
                  .top = static_cast<int>(config.topk_group),
                  .num_terms = by_bias ? 2 : 1};
  }
  // With one group there is nothing to choose by.
  if (moe.groups.count == 1) moe.groups = {};
  moe.scaling = static_cast<float>(config.routed_scaling_factor);
  moe.shared_intermediate_size = static_cast<int>(config.n_shared_experts) * moe.intermediate_size;
  return absl::OkStatus();
}

// What a conversion takes over from its source beyond what DeepSeek's models have.
absl::Status ReadTaken(const CheckpointReader& checkpoint, ModelSpec& spec) {
  const Config& config = checkpoint.config();
  spec.activation = Activation::kSilu;
  if (config.hidden_act == ActivationName(Activation::kGeluTanh)) {
    spec.activation = Activation::kGeluTanh;
  } else if (config.hidden_act != ActivationName(Activation::kSilu)) {
    return absl::InvalidArgumentError(absl::StrCat(checkpoint.path(), ": hidden_act is \"",
                                                   config.hidden_act,
                                                   "\"; it must be silu or gelu_pytorch_tanh"));
  }
  SetWindows(config, spec);
  spec.attention_soft_cap = static_cast<float>(config.attn_logit_softcapping.value_or(0));
  spec.final_soft_cap = static_cast<float>(config.final_logit_softcapping.value_or(0));
  spec.embedding_scale = static_cast<float>(config.embedding_multiplier);
  spec.post_norms = checkpoint.Has(LayerName(NamesIn(checkpoint).post_attention_norm, 0));
  if (config.source_head_dim > 0) {
    spec.qk_norm = true;
    spec.gqa = {.num_attention_heads = static_cast<int>(config.num_attention_heads),
                .num_key_value_heads = static_cast<int>(config.source_num_key_value_heads),
                .head_dim = static_cast<int>(config.source_head_dim)};
  }
  return absl::OkStatus();
}

absl::StatusOr<ModelSpec> Features(const CheckpointReader& checkpoint) {
  const Config& config = checkpoint.config();
  MoeSpec moe = MoeFeatures(config);
  if (moe.num_experts > 0 && absl::StartsWith(config.architecture, "Deepseek")) {
    RETURN_IF_ERROR(ReadDeepseekExperts(checkpoint, moe));
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
  if (config.qk_rope_head_dim < 2 || config.qk_rope_head_dim % 2 != 0 || !(config.rope_theta > 0)) {
    return absl::InvalidArgumentError(absl::StrCat(
        checkpoint.path(), ": qk_rope_head_dim must be even and at least 2 (",
        config.qk_rope_head_dim, "), and rope_theta positive (", config.rope_theta, ")"));
  }
  ModelSpec spec = CommonFeatures(checkpoint);
  RETURN_IF_ERROR(ReadTaken(checkpoint, spec));
  const TensorNames& names = NamesIn(checkpoint);
  spec.moe = std::move(moe);
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
    .hugging_face_names = Names,
    .gguf_names = LatentGgufNames,
    .features = Features,
};

}  // namespace transmla
