// Puts a layer's latent attention together from its source weights, the maps of its queries and
// keys and the latent's.
//
// Everything is linear, so projections are multiplied out once here (docs/conversion.md, section
// 4). Queries take up the quotient of the source's score scale and latent attention's, 1 / sqrt(d +
// Dr).
#ifndef TRANSMLA_ENGINE_CONVERT_LATENT_LAYER_H_
#define TRANSMLA_ENGINE_CONVERT_LATENT_LAYER_H_

#include <vector>

#include "engine/convert/attention_weights.h"
#include "engine/model/model_spec.h"

namespace transmla {

// How z = [k_nope; v] (width K + L) becomes the latent and comes back: latent = encoder · (z −
// centre), z ≈ decoder · latent + centre.
struct LatentMap {
  Matrix encoder;  // [R, K + L]; empty, as `decoder`: the latent is z
  Matrix decoder;  // [K + L, R]
  // [K + L], or empty: zero. What it adds to keys changes no attention, since all positions' scores
  // grow alike; its values pass through attention as they are, and the output projection's bias has
  // to bring them back (LatentWeights::o_bias), which BuildLatentLayer leaves to its caller.
  std::vector<double> centre;
};

struct LatentLayerPlan {
  GqaSpec source;
  double query_scale = 1;  // QueryScale
  // Times query_scale, of the position-free part of queries: the square of what the source's RoPE
  // multiplies queries and keys by, for here only the rope part is still multiplied.
  double nope_scale = 1;
  int qk_rope_head_dim = 0;
  // [L, L] each, query_mapᵀ · key_map = 1: keys become key_map · k, whose first qk_rope_head_dim
  // elements keep RoPE; a query becomes the columns of its group of query_map, times it.
  Matrix key_map;
  Matrix query_map;
  LatentMap latent;             // of [k_nope; v], K = L − qk_rope_head_dim
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
