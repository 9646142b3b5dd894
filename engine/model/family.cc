#include "engine/model/family.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

#include "engine/base/status.h"

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
      .q_norm = "model.layers.$.self_attn.q_norm.weight",
      .k_norm = "model.layers.$.self_attn.k_norm.weight",
      .router = "model.layers.$.mlp.gate.weight",
      .expert_gate = "model.layers.$.mlp.experts.@.gate_proj.weight",
      .expert_up = "model.layers.$.mlp.experts.@.up_proj.weight",
      .expert_down = "model.layers.$.mlp.experts.@.down_proj.weight",
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
      .q_norm = "blk.$.attn_q_norm.weight",
      .k_norm = "blk.$.attn_k_norm.weight",
      .router = "blk.$.ffn_gate_inp.weight",
      // Of files from before the matrices were stacked.
      .expert_gate = "blk.$.ffn_gate.@.weight",
      .expert_up = "blk.$.ffn_up.@.weight",
      .expert_down = "blk.$.ffn_down.@.weight",
      .stacked_gate = "blk.$.ffn_gate_exps.weight",
      .stacked_up = "blk.$.ffn_up_exps.weight",
      .stacked_down = "blk.$.ffn_down_exps.weight",
      .ignored = {"rope_freqs.weight"},
  };
  return *names;
}

const TensorNames& LatentGgufNames() {
  static const TensorNames* const names = [] {
    auto* made = new TensorNames(GgufNames());
    made->post_attention_norm = "blk.$.post_attention_norm.weight";
    made->post_feed_forward_norm = "blk.$.post_ffw_norm.weight";
    made->q_a = "blk.$.attn_q_a";
    made->q_a_norm = "blk.$.attn_q_a_norm.weight";
    made->q_b = "blk.$.attn_q_b";
    made->kv_a = "blk.$.attn_kv_a_mqa";
    made->kv_a_norm = "blk.$.attn_kv_a_norm.weight";
    made->k_b = "blk.$.attn_k_b.weight";
    made->v_b = "blk.$.attn_v_b.weight";
    made->inv_freq = "blk.$.rope_inv_freq.weight";
    // Read with the features, not with the weights.
    made->ignored.push_back(made->inv_freq);
    return made;
  }();
  return *names;
}

std::string LayerName(absl::string_view pattern, int layer) {
  return absl::StrReplaceAll(pattern, {{"$", absl::StrCat(layer)}});
}

std::string ExpertName(absl::string_view pattern, int layer, int expert) {
  return absl::StrReplaceAll(pattern, {{"$", absl::StrCat(layer)}, {"@", absl::StrCat(expert)}});
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
