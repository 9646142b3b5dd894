#include "engine/model/family.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"

#include "engine/base/status.h"
#include "engine/model/rope.h"
#include "engine/tensor/block_formats.h"

namespace transmla {

const TensorNames& HuggingFaceNames() {
  static const TensorNames* const names = new TensorNames{
      .embedding = "model.embed_tokens.weight",
      .final_norm = "model.norm.weight",
      .output = "lm_head.weight",
      .attention_norm = "model.layers.$.input_layernorm.weight",
      .feed_forward_norm = "model.layers.$.post_attention_layernorm.weight",
      .q = "model.layers.$.self_attn.q_proj",
      .k = "model.layers.$.self_attn.k_proj",
      .v = "model.layers.$.self_attn.v_proj",
      .attention_output = "model.layers.$.self_attn.o_proj",
      .gate = "model.layers.$.mlp.gate_proj.weight",
      .up = "model.layers.$.mlp.up_proj.weight",
      .down = "model.layers.$.mlp.down_proj.weight",
      .q_a = "model.layers.$.self_attn.q_a_proj",
      .q_a_norm = "model.layers.$.self_attn.q_a_layernorm.weight",
      .q_b = "model.layers.$.self_attn.q_b_proj",
      .kv_a = "model.layers.$.self_attn.kv_a_proj_with_mqa",
      .kv_a_norm = "model.layers.$.self_attn.kv_a_layernorm.weight",
      .kv_b = "model.layers.$.self_attn.kv_b_proj.weight",
      .inv_freq = "model.layers.$.self_attn.rotary_emb.inv_freq",
      // Old Llama checkpoints carry the frequencies that their config implies.
      .ignored = {"model.layers.$.self_attn.rotary_emb.inv_freq"},
  };
  return *names;
}

const TensorNames& GgufNames() {
  static const TensorNames* const names = new TensorNames{
      .embedding = "token_embd.weight",
      .final_norm = "output_norm.weight",
      .output = "output.weight",
      .attention_norm = "blk.$.attn_norm.weight",
      .feed_forward_norm = "blk.$.ffn_norm.weight",
      .q = "blk.$.attn_q",
      .k = "blk.$.attn_k",
      .v = "blk.$.attn_v",
      .attention_output = "blk.$.attn_output",
      .gate = "blk.$.ffn_gate.weight",
      .up = "blk.$.ffn_up.weight",
      .down = "blk.$.ffn_down.weight",
      .ignored = {"rope_freqs.weight"},
  };
  return *names;
}

std::string LayerName(absl::string_view pattern, int layer) {
  return absl::StrReplaceAll(pattern, {{"$", absl::StrCat(layer)}});
}

ModelSpec CommonFeatures(const CheckpointReader& checkpoint) {
  const Config& config = checkpoint.config();
  ModelSpec spec;
  spec.name = config.name;
  spec.vocab_size = static_cast<int>(config.vocab_size);
  spec.hidden_size = static_cast<int>(config.hidden_size);
  spec.intermediate_size = static_cast<int>(config.intermediate_size);
  spec.num_layers = static_cast<int>(config.num_hidden_layers);
  spec.max_context_tokens = static_cast<int>(config.max_position_embeddings);
  spec.norm_eps = static_cast<float>(config.rms_norm_eps);
  spec.tie_word_embeddings = config.tie_word_embeddings;
  spec.eos_token_ids.assign(config.eos_token_ids.begin(), config.eos_token_ids.end());
  spec.bos_token_id = static_cast<int>(config.bos_token_id.value_or(-1));
  return spec;
}

namespace {

// Llama 3's GGUF files carry the stretch of each frequency as a tensor instead of hyper-parameters.
absl::Status ApplyGgufRopeFactors(const CheckpointReader& checkpoint,
                                  std::vector<float>& inv_freq) {
  const absl::StatusOr<TensorView> factors = checkpoint.Tensor("rope_freqs.weight");
  if (!factors.ok()) return absl::OkStatus();
  if (factors->dtype != DType::kF32 ||
      factors->shape.elements() != static_cast<int64_t>(inv_freq.size())) {
    return absl::InvalidArgumentError(
        absl::StrCat(checkpoint.path(), ": rope_freqs.weight is ", DTypeName(factors->dtype), " ",
                     factors->shape.ToString(), "; expected f32 [", inv_freq.size(), "]"));
  }
  for (size_t t = 0; t < inv_freq.size(); ++t) {
    float factor = 0;
    std::memcpy(&factor, factors->as<char>() + t * sizeof(float), sizeof(float));
    inv_freq[t] /= factor;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ModelSpec> LlamaFeatures(const CheckpointReader& checkpoint) {
  const Config& config = checkpoint.config();
  ModelSpec spec = CommonFeatures(checkpoint);
  if (config.hidden_act != "silu") {
    return absl::UnimplementedError(absl::StrCat(checkpoint.path(), ": hidden_act is \"",
                                                 config.hidden_act, "\"; silu is supported"));
  }
  if (config.sliding_window.value_or(config.max_position_embeddings) <
      config.max_position_embeddings) {
    return absl::UnimplementedError(
        absl::StrCat(checkpoint.path(), ": sliding_window is ", *config.sliding_window,
                     ", less than the context of ", config.max_position_embeddings,
                     "; models that attend to a window only are not supported yet"));
  }
  if (config.head_dim <= 0 || config.head_dim % 2 != 0 || !(config.rope_theta > 0)) {
    return absl::InvalidArgumentError(
        absl::StrCat(checkpoint.path(), ": head_dim is ", config.head_dim, " and rope_theta ",
                     config.rope_theta, "; RoPE needs an even and a positive number"));
  }
  spec.gqa = {.num_attention_heads = static_cast<int>(config.num_attention_heads),
              .num_key_value_heads = static_cast<int>(config.num_key_value_heads),
              .head_dim = static_cast<int>(config.head_dim)};
  ASSIGN_OR_RETURN(Rope rope, MakeRope(spec.gqa.head_dim, config.rope_theta, config.rope_scaling,
                                       config.max_position_embeddings));
  RETURN_IF_ERROR(ApplyGgufRopeFactors(checkpoint, rope.inv_freq));
  spec.inv_freq.assign(spec.num_layers, rope.inv_freq);
  spec.rope_magnitude = rope.magnitude;
  spec.attention_scale = 1.0f / std::sqrt(static_cast<float>(spec.gqa.head_dim));
  spec.source_cache_values = 2 * spec.gqa.num_key_value_heads * spec.gqa.head_dim;
  const TensorNames& names =
      checkpoint.format() == CheckpointFormat::kGguf ? GgufNames() : HuggingFaceNames();
  spec.qkv_bias = checkpoint.Has(LayerName(names.q, 0) + ".bias");
  spec.output_bias = checkpoint.Has(LayerName(names.attention_output, 0) + ".bias");
  return spec;
}

absl::StatusOr<ModelSpec> ReadModelSpec(const CheckpointReader& checkpoint) {
  ASSIGN_OR_RETURN(const Family* family, FindFamily(checkpoint));
  ASSIGN_OR_RETURN(ModelSpec spec, family->features(checkpoint));
  spec.family = std::string(family->name);
  if (const absl::Status status = spec.Validate(); !status.ok()) {
    return Annotate(status, checkpoint.path());
  }
  return spec;
}

}  // namespace transmla
