// A layer's latent attention in the form that DeepSeek-V3's published modelling code insists on
// (transformers' DeepseekV3Attention).
//
// There queries and latents pass RMS norms, and only projections to them and the output's have
// biases. Both are met by weights alone: each latent gets one more element that is a large constant
// C (a zero row and a bias), and the norm's root mean square is then practically C / √R, which the
// norm's weights and the next projection undo. A latent c comes out too small by |c|² / (2·C²), and
// C is chosen from a bound of |c| so that this is below the rounding of float32; elements keep
// their own relative precision, which is why C may be far larger than they are. Behind the norm the
// constant is √R, times which the next projection's last column is the bias that it lacks.
// docs/conversion.md, section 12, derives it.
#ifndef TRANSMLA_ENGINE_CONVERT_STOCK_LAYOUT_H_
#define TRANSMLA_ENGINE_CONVERT_STOCK_LAYOUT_H_

#include "engine/convert/attention_weights.h"
#include "engine/model/model_spec.h"

namespace transmla {

struct StockLayoutInput {
  MlaSpec shape;  // of the weights as they are; no latent norm
  // Largest Euclidean norm that the hidden state which attention reads can have.
  double hidden_norm = 0;
  // Times all of a query, so that scores times 1/√(Dn + Dr) are as they were; and times its rope
  // part, which RoPE will not multiply any more.
  double query_scale = 1;
  double rope_scale = 1;
};

// The shape of what ToStockLayout makes of weights of `shape`: one more element in each latent; a
// whole query projection gets a latent that is the hidden state.
MlaSpec StockShape(const MlaSpec& shape, int hidden_size);

// The result has every bias and norm of DeepseekV3Attention (o_bias zero where `weights` have none)
// and no frequencies.
LatentWeights ToStockLayout(const LatentWeights& weights, const StockLayoutInput& input);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_STOCK_LAYOUT_H_
