#include "engine/model/gqa_features.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "engine/base/status.h"
#include "engine/model/family.h"
#include "engine/model/moe_features.h"
#include "engine/model/rope.h"

namespace transmla {
namespace {

// GGUF files of Llama 3 and of models with longrope carry the stretch of each frequency as a tensor
// instead of hyper-parameters.
absl::Status ApplyGgufRopeFactors(const CheckpointReader& checkpoint,
                                  std::vector<float>& inv_freq) {
  const Config& config = checkpoint.config();
  std::string name = "rope_freqs.weight";
  if (config.rope_scaling && config.rope_scaling->type == "longrope") {
    name = IsLongContext(*config.rope_scaling, config.max_position_embeddings)
               ? "rope_factors_long.weight"
               : "rope_factors_short.weight";
  }
  const absl::StatusOr<TensorView> factors = checkpoint.Tensor(name);
  if (!factors.ok()) return absl::OkStatus();
  if (factors->dtype != DType::kF32 ||
      factors->shape.elements() != static_cast<int64_t>(inv_freq.size())) {
    return absl::InvalidArgumentError(
        absl::StrCat(checkpoint.path(), ": ", name, " is ", DTypeName(factors->dtype), " ",
                     factors->shape.ToString(), "; expected f32 [", inv_freq.size(), "]"));
  }
  for (size_t t = 0; t < inv_freq.size(); ++t) {
    float factor = 0;
    std::memcpy(&factor, factors->as<char>() + t * sizeof(float), sizeof(float));
    inv_freq[t] /= factor;
  }
  return absl::OkStatus();
}

// What the config asks for and the family does not do.
absl::Status CheckTraits(const CheckpointReader& checkpoint, const GqaTraits& traits,
                         const ModelSpec& spec) {
  const Config& config = checkpoint.config();
  if (checkpoint.format() != CheckpointFormat::kGguf && config.hidden_act != traits.hidden_act) {
    return absl::UnimplementedError(absl::StrCat(checkpoint.path(), ": hidden_act is \"",
                                                 config.hidden_act, "\"; ", traits.hidden_act,
                                                 " is supported"));
  }
  if (spec.HasWindow() && !traits.sliding_window) {
    return absl::UnimplementedError(absl::StrCat(
        checkpoint.path(), ": sliding_window is ", *config.sliding_window,
        ", less than the context of ", config.max_position_embeddings, "; ", config.architecture,
        " models that attend to a window only are not supported"));
  }
  if (config.partial_rotary_factor != 1 && !traits.partial_rotary) {
    return absl::UnimplementedError(absl::StrCat(checkpoint.path(), ": partial_rotary_factor is ",
                                                 config.partial_rotary_factor, "; ",
                                                 config.architecture, " models need it to be 1"));
  }
  if (config.n_routed_experts > 0 && !traits.experts) {
    return absl::UnimplementedError(absl::StrCat(checkpoint.path(), ": ", config.architecture,
                                                 " models with experts (here ",
                                                 config.n_routed_experts, ") are not supported"));
  }
  return absl::OkStatus();
}

absl::Status SetRope(const CheckpointReader& checkpoint, ModelSpec& spec) {
  const Config& config = checkpoint.config();
  // Rounded down, but a quotient of integers gives them back.
  constexpr double kTiny = 1e-6;
  const int rotary_dim = static_cast<int>(
      static_cast<double>(spec.gqa.head_dim) * config.partial_rotary_factor + kTiny);
  if (rotary_dim <= 0 || rotary_dim % 2 != 0 || !(config.rope_theta > 0)) {
    return absl::InvalidArgumentError(absl::StrCat(
        checkpoint.path(), ": head_dim is ", config.head_dim, ", partial_rotary_factor ",
        config.partial_rotary_factor, " and rope_theta ", config.rope_theta,
        "; RoPE needs a positive base and an even number of dimensions"));
  }
  ASSIGN_OR_RETURN(Rope rope, MakeRope(rotary_dim, config.rope_theta, config.rope_scaling,
                                       config.max_position_embeddings));
  RETURN_IF_ERROR(ApplyGgufRopeFactors(checkpoint, rope.inv_freq));
  spec.inv_freq.assign(spec.num_layers, rope.inv_freq);
  spec.rope_magnitude = rope.magnitude;
  return absl::OkStatus();
}

}  // namespace

int WindowWithin(const Config& config) {
  const int64_t window = config.sliding_window.value_or(config.max_position_embeddings);
  return window < config.max_position_embeddings ? static_cast<int>(window) : 0;
}

void SetWindows(const Config& config, ModelSpec& spec) {
  const int window = WindowWithin(config);
  if (window == 0) return;
  spec.sliding_window.assign(spec.num_layers, window);
  for (size_t layer = 0; layer < config.layer_is_windowed.size(); ++layer) {
    if (!config.layer_is_windowed[layer]) spec.sliding_window[layer] = 0;
  }
}

absl::StatusOr<ModelSpec> GqaFeatures(const CheckpointReader& checkpoint, const GqaTraits& traits) {
  const Config& config = checkpoint.config();
  ModelSpec spec = CommonFeatures(checkpoint);
  spec.activation = traits.activation;
  spec.gqa = {.num_attention_heads = static_cast<int>(config.num_attention_heads),
              .num_key_value_heads = static_cast<int>(config.num_key_value_heads),
              .head_dim = static_cast<int>(config.head_dim)};
  SetWindows(config, spec);
  if (traits.experts) spec.moe = MoeFeatures(config);
  RETURN_IF_ERROR(CheckTraits(checkpoint, traits, spec));
  RETURN_IF_ERROR(SetRope(checkpoint, spec));
  spec.attention_scale = 1.0f / std::sqrt(static_cast<float>(spec.gqa.head_dim));
  spec.source_cache_values = 2 * spec.gqa.num_key_value_heads * spec.gqa.head_dim;
  const TensorNames& names =
      checkpoint.format() == CheckpointFormat::kGguf ? GgufNames() : HuggingFaceNames();
  spec.qkv_bias = checkpoint.Has(LayerName(names.q, 0) + ".bias");
  spec.output_bias = checkpoint.Has(LayerName(names.attention_output, 0) + ".bias");
  return spec;
}

}  // namespace transmla
