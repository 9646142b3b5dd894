// Config: a model's hyper-parameters under the names of Hugging Face's config.json, whatever file
// they came from.
//
// Plain data with checked ranges (hf_config.h and gguf_config.h fill it); what the numbers mean for
// the forward pass is the family's business (engine/model). A field that the source does not give
// keeps its default or stays empty.
#ifndef TRANSMLA_ENGINE_FORMAT_CONFIG_H_
#define TRANSMLA_ENGINE_FORMAT_CONFIG_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace transmla {

// "rope_scaling" of config.json, or its GGUF twin.
struct RopeScaling {
  std::string type;  // "linear", "llama3", "yarn", "longrope", …
  double factor = 1.0;
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;
  int64_t original_max_position_embeddings = 0;
  // yarn
  double beta_fast = 32.0;
  double beta_slow = 1.0;
  std::optional<double> mscale;
  std::optional<double> mscale_all_dim;
  std::optional<double> attention_factor;
  // longrope: what each frequency is divided by, [rotary pairs], in contexts of up to
  // original_max_position_embeddings positions and in longer ones. Empty where they are tensors.
  std::vector<double> short_factor;
  std::vector<double> long_factor;
};

struct Config {
  // "LlamaForCausalLM" (config.json "architectures"[0]) or "llama" (GGUF "general.architecture"):
  // the family's key.
  std::string architecture;
  std::string model_type;  // config.json "model_type"; the GGUF architecture for GGUF
  std::string name;        // GGUF "general.name", or the folder's name

  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_hidden_layers = 0;
  int64_t num_attention_heads = 0;
  int64_t num_key_value_heads = 0;
  int64_t head_dim = 0;  // hidden_size / num_attention_heads where the source does not give it
  int64_t max_position_embeddings = 0;
  double rms_norm_eps = 1e-6;
  double rope_theta = 10000.0;
  std::optional<RopeScaling> rope_scaling;
  bool tie_word_embeddings = false;
  bool attention_bias = false;
  std::string hidden_act = "silu";  // or "hidden_activation", where a file gives that
  double partial_rotary_factor = 1;
  std::optional<int64_t> sliding_window;
  // "layer_types": whether a layer's attention is "sliding_attention". Empty: not given.
  std::vector<bool> layer_is_windowed;
  int64_t sliding_window_pattern = 0;           // every that many layers one sees all; 0: not given
  std::optional<double> rope_local_base_freq;   // rope_theta of layers with a window
  std::optional<double> query_pre_attn_scalar;  // scores are divided by its root
  std::optional<double> attn_logit_softcapping;  // scores become cap · tanh(score / cap)
  std::optional<double> final_logit_softcapping;

  std::vector<int64_t> eos_token_ids;
  std::optional<int64_t> bos_token_id;

  // Multi-head latent attention, DeepSeek-V3 names. Zero kv_lora_rank: not MLA.
  int64_t kv_lora_rank = 0;
  int64_t q_lora_rank = 0;  // 0: q_proj instead of q_a_proj and q_b_proj
  int64_t qk_nope_head_dim = 0;
  int64_t qk_rope_head_dim = 0;
  int64_t v_head_dim = 0;
  bool rope_interleave = true;  // rotary pairs are neighbours (2i, 2i+1) in the checkpoint's rows

  // Experts of the feed-forward blocks (mixture of experts). Config.json names their number
  // "num_local_experts" (mixtral), "num_experts" (qwen3_moe) or "n_routed_experts"; 0: none.
  int64_t n_routed_experts = 0;
  int64_t num_experts_per_tok = 0;    // that a token goes to
  int64_t moe_intermediate_size = 0;  // of an expert; 0: not given
  bool norm_topk_prob = false;        // weights of a token's experts add up to 1
  int64_t n_shared_experts = 0;       // that all tokens go to, side by side as one feed-forward
  double routed_scaling_factor = 1;   // of those weights
  std::string scoring_func;           // "softmax" or "sigmoid"; empty: not given
  // "greedy", "group_limited_greedy" or "noaux_tc"; empty: not given. The latter two choose among
  // the experts of topk_group of n_group groups.
  std::string topk_method;
  int64_t n_group = 1;
  int64_t topk_group = 1;
  // Layers without experts: those before first_k_dense_replace, those whose number is no multiple
  // of moe_layer_freq or, counted from 1, of decoder_sparse_step, and those of mlp_only_layers.
  int64_t first_k_dense_replace = 0;
  int64_t decoder_sparse_step = 1;
  int64_t moe_layer_freq = 1;
  std::vector<int64_t> mlp_only_layers;

  // What a conversion adds (docs/checkpoint_format.md). Zero or absent elsewhere.
  bool has_latent_norm = true;  // kv_a_layernorm exists
  std::optional<double>
      attention_scale;  // multiplies scores; 1/sqrt(qk_nope_head_dim + qk_rope_head_dim) if absent
  int64_t source_cache_values_per_token =
      0;                            // values a token and layer that the unconverted model caches
  double embedding_multiplier = 1;  // of embeddings; a model of another kind implies its own
  // Heads of the unconverted model whose queries and keys are normed before they become latent.
  int64_t source_num_key_value_heads = 0;
  int64_t source_head_dim = 0;

  // Model's own sampling defaults (generation_config.json), where given.
  std::optional<double> default_temperature;
  std::optional<double> default_top_p;
  std::optional<int64_t> default_top_k;
  std::optional<double> default_repetition_penalty;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_FORMAT_CONFIG_H_
