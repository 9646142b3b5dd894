// The latent of position-free keys and values that loses least of what scores and outputs see.
//
// TransMLA's BKV-PCA (compress.h) minimises the error of keys and values themselves. Here both are
// centred, for constants cost nothing (LatentMap::centre), and weighed: keys by the second moment
// of the queries that score them and what scores move, values by what the output projection makes
// of them. What is minimised is then the error of the block's output (docs/conversion.md, section
// 11). CARE (arXiv 2603.17946) weighs by the covariance of the inputs, which working on k and v
// themselves contains.
#ifndef TRANSMLA_ENGINE_CONVERT_WEIGHTED_LATENT_H_
#define TRANSMLA_ENGINE_CONVERT_WEIGHTED_LATENT_H_

#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include "engine/convert/latent_layer.h"
#include "engine/linalg/matrix.h"

namespace transmla {

struct WeightedLatentInput {
  const Matrix* moment = nullptr;   // mean of z·zᵀ, z = [k_nope; v], [K + L, K + L]
  absl::Span<const double> centre;  // mean of z where it may be taken out, else 0; [K + L]
  // Of errors of k_nope and of v, in the same unit: what they do to the block's output. [K, K], [L,
  // L]
  const Matrix* key_weight = nullptr;
  const Matrix* value_weight = nullptr;
  int kv_lora_rank = 0;  // 1 … K + L
  double balance = 1;    // times the root of key_weight
};

struct WeightedLatent {
  LatentMap map;
  double key_error = 0;    // as LatentBasis
  double value_error = 0;  // alike
  // What each direction of z that the latent may keep costs if it is lost, descending; [K + L].
  std::vector<double> costs;
};

// DataLoss if an input is not finite. O((K + L)³).
absl::StatusOr<WeightedLatent> CompressWeighted(const WeightedLatentInput& input);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_WEIGHTED_LATENT_H_
