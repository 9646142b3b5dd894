// One layer's attention weights before and after conversion, in float64.
//
// Notation of docs/conversion.md: D = hidden_size, H = num_attention_heads, G =
// num_key_value_heads, d = head_dim, n = d / 2 rotary pairs a head, L = G·d; R = kv_lora_rank, Dn /
// Dr / Dv = qk_nope_head_dim / qk_rope_head_dim / v_head_dim.
#ifndef TRANSMLA_ENGINE_CONVERT_ATTENTION_WEIGHTS_H_
#define TRANSMLA_ENGINE_CONVERT_ATTENTION_WEIGHTS_H_

#include <vector>

#include "engine/linalg/matrix.h"

namespace transmla {

// Grouped-query attention in Hugging Face's layout: rotary pair f of a head is its rows f and f +
// n. The output projection is not here: it is only trained, if anything.
struct GqaWeights {
  Matrix q;                    // [H·d, D]
  Matrix k;                    // [L, D]
  Matrix v;                    // [L, D]
  std::vector<double> q_bias;  // [H·d], or empty
  std::vector<double> k_bias;  // [L], or empty
  std::vector<double> v_bias;  // [L], or empty
  // The source norms heads of queries and keys, which is not linear: its projections, biases and
  // norms stay as they are, and what is here comes behind them. `q` is [H·d, d], of a head's normed
  // query, `k` and `v` are [L, 2·L], of [normed keys; values]; there are no biases.
  bool behind_norms = false;
};

// Latent attention in the layout of docs/checkpoint_format.md: rotary pairs are neighbouring rows.
struct LatentWeights {
  Matrix q_a;                    // [q_lora_rank, D], or empty for a whole query projection
  std::vector<double> q_a_bias;  // [q_lora_rank], or empty
  std::vector<double> q_a_norm;  // [q_lora_rank], weights of an RMS norm behind q_a, or empty
  Matrix q;                    // q_proj [H·(Dn + Dr), D], or q_b_proj [H·(Dn + Dr), q_lora_rank]
  std::vector<double> q_bias;  // [H·(Dn + Dr)], or empty
  Matrix kv_a;                 // [R + Dr, D]
  std::vector<double> kv_a_bias;  // [R + Dr], or empty
  std::vector<double> kv_a_norm;  // [R], weights of an RMS norm of the latent, or empty
  Matrix kv_b;                    // [H·(Dn + Dv), R]
  Matrix o;                       // [D, H·Dv], or empty: the source's
  std::vector<double> o_bias;     // [D], of the output projection, or empty
  std::vector<float> inv_freq;    // [Dr / 2], radians a position; empty: config.json has them
  // As GqaWeights: `q` is [H·(Dn + Dr), d], `kv_a` [R + Dr, 2·L].
  bool behind_norms = false;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_ATTENTION_WEIGHTS_H_
