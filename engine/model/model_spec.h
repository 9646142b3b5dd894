// ModelSpec: a decoder as a set of features. The forward pass (decoder.h) reads features only; it
// knows no family.
//
// A family (family.h) turns a Config into a ModelSpec. Plain data; Validate() proves that the
// numbers fit together.
#ifndef TRANSMLA_ENGINE_MODEL_MODEL_SPEC_H_
#define TRANSMLA_ENGINE_MODEL_MODEL_SPEC_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

#include "engine/backend/kv_store.h"
#include "engine/backend/op_args.h"

namespace transmla {

struct GqaSpec {
  int num_attention_heads = 0;
  int num_key_value_heads = 0;  // divides num_attention_heads
  int head_dim = 0;
};

// DeepSeek-V2/V3 names and layout.
struct MlaSpec {
  int num_attention_heads = 0;
  int q_lora_rank = 0;  // 0: one q projection
  int kv_lora_rank = 0;
  int qk_nope_head_dim = 0;  // may be 0: scores come from the rope key alone
  int qk_rope_head_dim = 0;  // even, at least 2
  int v_head_dim = 0;
  bool latent_norm =
      false;  // root mean square norm of the latent before it is cached (kv_a_layernorm)
};

// Experts of the feed-forward blocks (mixture of experts).
struct MoeSpec {
  int num_experts = 0;          // of a layer; 0: no layer has any
  int num_experts_per_tok = 0;  // that a token goes to
  int intermediate_size = 0;    // of an expert
  bool norm_topk_prob = false;  // weights of a token's experts add up to 1
  ExpertScore score = ExpertScore::kSoftmax;
  bool choice_bias = false;  // added to scores to choose by (e_score_correction_bias)
  ExpertGroups groups;
  float scaling = 1;  // of the weights, at last
  // Of a feed-forward that all tokens go through beside their experts; 0: none.
  int shared_intermediate_size = 0;
  // Whether a layer has experts; the others have one feed-forward. [num_layers], empty without any.
  std::vector<bool> layers;
};

// Hugging Face's name: "silu" or "gelu_pytorch_tanh".
absl::string_view ActivationName(Activation activation);

struct ModelSpec {
  std::string family;  // "llama", "qwen2", "transmla", …
  std::string name;    // for people

  int vocab_size = 0;
  int hidden_size = 0;
  int intermediate_size = 0;
  int num_layers = 0;
  int max_context_tokens = 0;

  AttentionKind attention = AttentionKind::kGqa;
  GqaSpec gqa;               // if attention is kGqa, or for qk_norm
  MlaSpec mla;               // if attention is kMla
  bool qkv_bias = false;     // biases of the q and k/v (or q and kv_a) projections exist
  bool output_bias = false;  // bias of o_proj exists
  // Norms of each head of q and k before RoPE. If attention is kMla, of what `gqa` describes,
  // before queries and the latent are made of it.
  bool qk_norm = false;
  float attention_scale = 0;  // multiplies scores before softmax
  // Scores become cap · tanh(score / cap); 0: they stay.
  float attention_soft_cap = 0;
  // Positions that a layer's tokens see, their own included, [num_layers]; 0: all. Empty:
  // every layer sees all.
  std::vector<int> sliding_window;

  // Inverse frequencies a layer, radians a position: [num_layers][rotary pairs].
  std::vector<std::vector<float>> inv_freq;
  float rope_magnitude = 1;  // YaRN's factor on rotated keys and queries

  float norm_eps = 1e-6f;
  // Results of the attention and feed-forward blocks are normed before they join the residual
  // stream.
  bool post_norms = false;
  Activation activation = Activation::kSilu;
  MoeSpec moe;
  float embedding_scale = 1;
  float final_soft_cap = 0;  // logits become cap · tanh(logit / cap); 0: they stay
  bool tie_word_embeddings = false;

  std::vector<int> eos_token_ids;
  int bos_token_id = -1;  // -1: none

  // Values a token and layer that the model cached before its conversion; its own if it was not
  // converted.
  int source_cache_values = 0;

  int NumAttentionHeads() const;
  // Positions that `layer` sees; 0: all.
  int WindowOf(int layer) const { return sliding_window.empty() ? 0 : sliding_window[layer]; }
  bool HasWindow() const;  // in any layer
  bool HasExperts(int layer) const { return !moe.layers.empty() && moe.layers[layer]; }
  // What this model caches, as `dtype`.
  KvLayout CacheLayout(DType dtype) const;
  // Bytes that source_cache_values would take as `dtype`, all layers. The heads of a converted
  // model's source are not known: kI8 then counts one scale for kMaxKvGroup values, the fewest
  // there can be.
  int64_t SourceCacheBytesPerToken(DType dtype) const;
  // InvalidArgument naming field, value and limit if the features contradict each other or exceed
  // what the engine runs.
  absl::Status Validate() const;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_MODEL_MODEL_SPEC_H_
