// Puts a layer's latent attention together from its source weights, the rotation of its keys and
// the latent's basis.
//
// Everything is linear, so projections are multiplied out once here (docs/conversion.md, section
// 4). Queries take up the quotient of the source's score scale and latent attention's, 1 / sqrt(d +
// Dr).
#ifndef TRANSMLA_ENGINE_CONVERT_LATENT_LAYER_H_
#define TRANSMLA_ENGINE_CONVERT_LATENT_LAYER_H_

#include "engine/convert/attention_weights.h"
#include "engine/convert/compress.h"
#include "engine/model/model_spec.h"

namespace transmla {

struct LatentLayerPlan {
  GqaSpec source;
  double query_scale = 1;  // QueryScale
  // Times query_scale, of the position-free part of queries: the square of what the source's RoPE
  // multiplies queries and keys by, for here only the rope part is still multiplied.
  double nope_scale = 1;
  int qk_rope_head_dim = 0;
  Matrix rotation;              // [L, L], RopeRotation
  LatentBasis latent;           // of [k_nope; v], width 2·L − qk_rope_head_dim
  Matrix query_basis;           // [H·d, q_lora_rank], or empty for a whole query projection
  std::vector<float> inv_freq;  // [qk_rope_head_dim / 2]
};

// The result has qk_nope_head_dim = v_head_dim = d.
LatentWeights BuildLatentLayer(const GqaWeights& source, const LatentLayerPlan& plan);

// What queries are multiplied by so that a score scale of 1 / sqrt(head_dim + qk_rope_head_dim)
// gives the source's scores.
double QueryScale(const ModelSpec& source, int qk_rope_head_dim);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_LATENT_LAYER_H_
