// The latent attention block of a layer, forward and backward, for training its weights.
//
// Shapes: N tokens, in whole sequences of `length` tokens each; D = hidden_size, H heads, R =
// kv_lora_rank, Dn / Dr / Dv = qk_nope / qk_rope / v head dims, as attention_weights.h has them.
// Not absorbed: keys and values of each head are spelled out, which is less work for whole
// sequences. Everything is float32. Derivations are the chain rule applied line by line to
// docs/conversion.md, section 4.
#ifndef TRANSMLA_ENGINE_CONVERT_RECOVER_LATENT_ATTENTION_H_
#define TRANSMLA_ENGINE_CONVERT_RECOVER_LATENT_ATTENTION_H_

#include <vector>

#include "engine/convert/attention_weights.h"
#include "engine/linalg/float_product.h"
#include "engine/model/model_spec.h"

namespace transmla {

// What is trained of a layer, or the gradient of it. What the layer does not have is empty.
struct AttentionParameters {
  FloatMatrix q;                          // [H·(Dn + Dr), D], or [H·(Dn + Dr), d] behind norms
  FloatMatrix kv_a;                       // [R + Dr, D], or [R + Dr, 2·L]
  FloatMatrix kv_b;                       // [H·(Dn + Dv), R]
  FloatMatrix o;                          // [D, H·Dv]
  FloatMatrix q_bias, kv_a_bias, o_bias;  // one row each
  // Queries of low rank: [q_lora_rank, D], and one row; `q` is then [H·(Dn + Dr), q_lora_rank].
  FloatMatrix q_a, q_a_bias;

  // In this order, for what is done to all alike.
  std::vector<FloatMatrix*> All() {
    return {&q, &kv_a, &kv_b, &o, &q_bias, &kv_a_bias, &o_bias, &q_a, &q_a_bias};
  }
};

// Zeros of the same shapes.
AttentionParameters ZerosLike(const AttentionParameters& parameters);

// What does not change in training.
struct AttentionShape {
  MlaSpec mla;                  // without latent_norm
  float scale = 0;              // of scores
  float rope_magnitude = 1;     // on rotated queries and keys
  float soft_cap = 0;           // scores become cap · tanh(score / cap); 0: they stay
  int window = 0;               // positions that a token sees, its own included; 0: all
  int length = 0;               // of each sequence
  std::vector<float> inv_freq;  // [Dr / 2]
  // Behind norms of queries and keys: d, the width of each head's normed query. What comes in are
  // then these queries and [normed keys; values], [N, H·d + 2·L], instead of a hidden state.
  int normed_head_dim = 0;
};

// What Backward needs of Forward.
struct AttentionTape {
  FloatMatrix q_low;     // queries of low rank before `q`, [N, q_lora_rank], or empty
  FloatMatrix q;         // rotated, [N, H·(Dn + Dr)]
  FloatMatrix kv;        // [latent | rotated rope key], [N, R + Dr]
  FloatMatrix spelled;   // a head: [k_nope | v], [N, H·(Dn + Dv)]
  FloatMatrix attended;  // [N, H·Dv]
};

// `in` is what the projections see, [N, D], or what is behind the norms. The block's output, [N,
// D].
FloatMatrix AttentionForward(const AttentionShape& shape, const AttentionParameters& parameters,
                             const FloatMatrix& in, AttentionTape* tape);

// From the gradient of the output that of `in`; adds those of the parameters to `gradient`.
FloatMatrix AttentionBackward(const AttentionShape& shape, const AttentionParameters& parameters,
                              const FloatMatrix& in, const AttentionTape& tape,
                              const FloatMatrix& out_gradient, AttentionParameters* gradient);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_RECOVER_LATENT_ATTENTION_H_
