// KeyComponents: keys of all heads taken apart, at each frequency, by what scores see of them; and
// the choice of those that keep RoPE.
//
// The keys of all heads that turn at one frequency are a vector κ of G complex numbers (a pair is
// one number, which RoPE multiplies by e^{iθ·position}), and any complex-linear map of it commutes
// with RoPE, not only the real rotations of TransMLA (arXiv 2502.07864). docs/conversion.md,
// section 5, has the formulas: with D the roots of the energy of each group's queries, the
// eigenvectors of D·E[κκᴴ]·D make components whose energies are their shares of the scores, and
// queries are mapped so that scores stay as they are.
#ifndef TRANSMLA_ENGINE_CONVERT_KEY_COMPONENTS_H_
#define TRANSMLA_ENGINE_CONVERT_KEY_COMPONENTS_H_

#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include "engine/linalg/matrix.h"
#include "engine/model/model_spec.h"

namespace transmla {

// A complex number of a token's keys in new coordinates. The maps are rows over the G heads, real
// and imaginary parts.
struct KeyComponent {
  int pair = 0;  // rotary pair: turns at inv_freq[pair]
  // Mean square of its share of a head's score, summed over the heads.
  double energy = 0;
  // What losing RoPE costs of that, if distances between queries and keys are as expected.
  double rope_cost = 0;
  std::vector<double> key_real, key_imag;      // component = key row · κ
  std::vector<double> query_real, query_imag;  // a query of group g becomes element g, times it
};

struct KeyComponentsInput {
  GqaSpec gqa;
  const Matrix* key_moment = nullptr;      // mean of k·kᵀ before RoPE, [L, L], halves
  absl::Span<const Matrix> query_moments;  // a head: mean of q·qᵀ before RoPE, [d, d]
  absl::Span<const float> inv_freq;        // [d / 2]
  int max_distance = 0;                    // between query and key, at least 1
};

// All L / 2 components, by falling rope_cost. DataLoss if a moment is not finite.
absl::StatusOr<std::vector<KeyComponent>> DecomposeKeys(const KeyComponentsInput& input);

// The maps of a LatentLayerPlan that keep RoPE on the first `qk_rope_head_dim / 2` components.
struct KeyMaps {
  Matrix key_map, query_map;    // [L, L]
  std::vector<float> inv_freq;  // [qk_rope_head_dim / 2]
};
KeyMaps MakeKeyMaps(absl::Span<const KeyComponent> components, const GqaSpec& gqa,
                    absl::Span<const float> inv_freq, int qk_rope_head_dim);

// Mean of |e^{iθΔ} − 1|² over distances Δ from 1 to `max_distance`, weighted by Δ^−½: how much a
// score's term of that frequency changes, relative to its square, if RoPE is left out.
double RopeCost(double inv_freq, int max_distance);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_KEY_COMPONENTS_H_
