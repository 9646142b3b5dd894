// One documented struct for each operation of the seam (backend.h).
//
// Notation: tokens = RaggedBatch::tokens() of the step; H = num_attention_heads, G =
// num_key_value_heads, d = head_dim, R = kv_lora_rank, Dn / Dr / Dv = qk_nope_head_dim /
// qk_rope_head_dim / v_head_dim. All activations are dense row-major tensors of the backend's
// activation type in the backend's memory (Backend::NewTensor). Weight pointers are not owned.
// Rotary pairs are half-split (element i with element i + n/2 of the rotated part); checkpoints
// that interleave pairs are permuted at load.
#ifndef TRANSMLA_ENGINE_BACKEND_OP_ARGS_H_
#define TRANSMLA_ENGINE_BACKEND_OP_ARGS_H_

#include "absl/types/span.h"

#include "engine/backend/kv_store.h"
#include "engine/backend/packed_weight.h"
#include "engine/tensor/tensor_view.h"

namespace transmla {

// out[t] = scale · table[token_ids[t]]
struct EmbeddingArgs {
  const PackedWeight* table = nullptr;  // [vocab_size, hidden_size]
  float scale = 1.0f;
  MutableTensorView out;  // [tokens, hidden_size]
};

// out[t, c] = in[t, c] / sqrt(mean_c(in[t, c]²) + eps) · weight[c] for c < weight's length n, or
// out[t, c] += … if accumulate (the residual connection of a block whose result is normed); the
// other columns of `out` are not touched. Root mean square norm (arXiv 1910.07467). Heads are
// normed one by one as rows: [tokens, H, d] with a weight of [d].
struct NormArgs {
  TensorView in;                         // [rows…, cols], n <= cols
  const PackedWeight* weight = nullptr;  // [n], role kVector
  float eps = 1e-6f;
  bool accumulate = false;
  MutableTensorView out;  // [rows…, cols]; may be `in`, unless accumulate
};

// out = in · weightᵀ + bias, or out += … if accumulate (the residual connection).
struct LinearArgs {
  TensorView in;                         // [tokens, in_features]
  const PackedWeight* weight = nullptr;  // [out_features, in_features]
  const PackedWeight* bias = nullptr;    // [out_features], or none
  bool accumulate = false;
  MutableTensorView out;  // [tokens, out_features], not overlapping `in`
};

// out[t, h] = weight[h] · in[t, h, in_offset : in_offset + in_features]: the Absorb products,
// q_nope·W_UK and latent·W_UV (DeepSeek-V2, arXiv 2405.04434, appendix B).
struct PerHeadLinearArgs {
  TensorView in;  // [tokens, H, width], in_offset + in_features <= width
  int in_offset = 0;
  const PackedWeight* weight = nullptr;  // [H, out_features, in_features], role kPerHead
  MutableTensorView out;                 // [tokens, H, out_features]
};

// Rotates the first 2·len(inv_freq) elements of each head of q and k by position · inv_freq (RoPE,
// arXiv 2104.09864), times `magnitude` (YaRN's attention factor; 1 otherwise), and writes k and v
// to the cache at the tokens' positions.
struct GqaCacheWriteArgs {
  MutableTensorView q;                     // [tokens, H, d], rotated in place
  MutableTensorView k;                     // [tokens, G, d], rotated in place
  TensorView v;                            // [tokens, G, d]
  const PackedWeight* inv_freq = nullptr;  // [rotary / 2], role kVector, radians a position
  float magnitude = 1.0f;
  KvStore* store = nullptr;  // layout kGqa
  int layer = 0;
};

// As above for MLA: rotates the last Dr elements of each head of q and the rope key, writes [latent
// | rope key].
struct MlaCacheWriteArgs {
  MutableTensorView q;  // [tokens, H, Dn + Dr], last Dr rotated in place
  MutableTensorView
      kv;  // [tokens, R + Dr]: latent (after its norm, if any), then rope key, rotated in place
  const PackedWeight* inv_freq = nullptr;  // [Dr / 2], role kVector; of this layer
  float magnitude = 1.0f;
  KvStore* store = nullptr;  // layout kMla
  int layer = 0;
};

// Softmax attention of each token over its sequence's cache, positions 0 … its own; head h reads
// key/value head h·G/H.
struct GqaAttentionArgs {
  TensorView q;  // [tokens, H, d]
  const KvStore* store = nullptr;
  int layer = 0;
  float scale = 0.0f;      // multiplies scores before softmax; above 0
  float soft_cap = 0.0f;   // scores become cap · tanh(score / cap) after `scale`; 0: they stay
  int sliding_window = 0;  // sees the last that many positions, its own included; 0: all
  MutableTensorView out;   // [tokens, H, d]
};

// Attention in latent space (Absorb): score = q_latent·latent + q_rope·rope key, output = Σ p ·
// latent, shared by all heads. Of the tokens that RaggedBatch::expanded does not name.
struct MlaAttentionArgs {
  TensorView q_latent;  // [tokens, H, R]: q_nope already multiplied by W_UK
  TensorView q;         // [tokens, H, Dn + Dr]: its last Dr elements are the rotated rope part
  const KvStore* store = nullptr;
  int layer = 0;
  float scale = 0.0f;      // multiplies scores before softmax; above 0
  float soft_cap = 0.0f;   // as GqaAttentionArgs
  int sliding_window = 0;  // as GqaAttentionArgs
  // [tokens, H, R]; the caller applies W_UV. Rows of expanded tokens are not touched.
  MutableTensorView out;
};

// The same attention in expanded form: keys and values of every head are made of the cached latents
// (DeepSeek-V2, arXiv 2405.04434, equations 10 and 11), score = q_nope·(W_UK latent) + q_rope·rope
// key, output = Σ p · (W_UV latent). Of the tokens that RaggedBatch::expanded names. They are kept
// in the cache's type, in BF16 for a cache of 8-bit integers.
struct MlaExpandedAttentionArgs {
  TensorView q;                        // [tokens, H, Dn + Dr], last Dr rotated; Dn above 0
  const PackedWeight* w_uk = nullptr;  // [H, Dn, R], role kPerHead
  const PackedWeight* w_uv = nullptr;  // [H, Dv, R], role kPerHead
  const KvStore* store = nullptr;      // layout kMla
  int layer = 0;
  float scale = 0.0f;      // as MlaAttentionArgs
  float soft_cap = 0.0f;   // as GqaAttentionArgs
  int sliding_window = 0;  // as GqaAttentionArgs
  MutableTensorView out;   // [tokens, H, Dv]; rows of other tokens are not touched
};

enum class Activation { kSilu, kGeluTanh };

// out = activation(gate) · up, element by element. `out` may be `gate`.
struct GatedActivationArgs {
  TensorView gate;  // [tokens, intermediate_size]
  TensorView up;    // [tokens, intermediate_size]
  Activation activation = Activation::kSilu;
  MutableTensorView out;  // [tokens, intermediate_size]
};

// out = activation(gate · in) · (up · in), element by element: the first half of a gated
// feed-forward network (arXiv 2002.05202).
struct GatedLinearArgs {
  TensorView in;                       // [tokens, in_features]
  const PackedWeight* gate = nullptr;  // [intermediate_size, in_features]
  const PackedWeight* up = nullptr;    // [intermediate_size, in_features]
  Activation activation = Activation::kSilu;
  MutableTensorView up_out;  // [tokens, intermediate_size]: written, up · in
  MutableTensorView out;     // [tokens, intermediate_size]; overlapping neither
};

// A token goes to at most so many experts; published are 2 to 22. Bounds what backends set aside
// for routes.
inline constexpr int kMaxExpertsPerToken = 64;

enum class ExpertScore { kSoftmax, kSigmoid };

// Experts that are neighbours make groups of equal size; a token's experts come from some of them
// only (DeepSeek-V2, arXiv 2405.04434, section 2.2.2; DeepSeek-V3, arXiv 2412.19437,
// section 2.1.2).
struct ExpertGroups {
  int count = 1;      // divides num_experts
  int top = 1;        // that a token's experts come from: those of the greatest sums of …
  int num_terms = 1;  // … so many greatest of a group's scores
};

// Chooses each token's experts (mixture of experts, arXiv 1701.06538): those of the top_k greatest
// scores, of equal ones the lower index. Scores are the softmax or the sigmoid of the logits in
// F32; for the choice, not for the weights, `bias` is added to them. An expert's weight is its
// score, or its share of the chosen ones' with `normalize`. Results are in host memory: Route
// waits, as Read does.
struct RouteArgs {
  TensorView logits;  // [tokens, num_experts]
  ExpertScore score = ExpertScore::kSoftmax;
  const PackedWeight* bias = nullptr;  // [num_experts], role kVector, or none
  ExpertGroups groups;
  int top_k = 0;                // 1 … experts of the chosen groups and kMaxExpertsPerToken
  bool normalize = false;       // a token's weights add up to 1
  absl::Span<int32_t> experts;  // [tokens · top_k]: a token's side by side, the greatest first
  absl::Span<float> weights;    // [tokens · top_k], as `experts`
};

// out[i] = in[rows[i]]. `rows` must not change until the backend has waited (Route, Read, Finish).
struct GatherRowsArgs {
  TensorView in;  // [tokens, cols]
  absl::Span<const int32_t>
      rows;               // [n], each in [0, tokens); n at most kMaxExpertsPerToken · tokens
  MutableTensorView out;  // [n, cols], not overlapping `in`
};

// out[t] = Σ_j weights[t · terms + j] · in[rows[t · terms + j]], j ascending, or out[t] += … if
// accumulate, which then is the first term. Summed in F32 and rounded once. `rows` and `weights`
// must not change until the backend has waited.
struct CombineRowsArgs {
  TensorView in;                    // [n, cols]
  int terms = 0;                    // 1 … kMaxExpertsPerToken
  absl::Span<const int32_t> rows;   // [tokens · terms], each in [0, n)
  absl::Span<const float> weights;  // [tokens · terms]
  bool accumulate = false;
  MutableTensorView out;  // [tokens, cols], not overlapping `in`
};

// Logits of the batch's logit_tokens: norm, then output projection, then the soft cap.
struct LogitsArgs {
  TensorView hidden;                          // [tokens, hidden_size]
  const PackedWeight* norm_weight = nullptr;  // [hidden_size]
  float norm_eps = 1e-6f;
  const PackedWeight* output = nullptr;  // [vocab_size, hidden_size]
  float soft_cap = 0.0f;                 // logits become cap · tanh(logit / cap); 0: they stay
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_BACKEND_OP_ARGS_H_
