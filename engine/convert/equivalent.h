// The lossless conversion: latent attention that computes what grouped-query attention did, number
// for number.
//
// The latent is the values of all heads side by side, the rope key the keys of all heads side by
// side with each head's frequencies repeated: R = Dr = L, Dn = 0, Dv = d. A query head is zero
// outside its group's slot of the rope key, and W_UV picks its group's slice of the latent. Weights
// are copied, never computed with; the cache row is the source's.
#ifndef TRANSMLA_ENGINE_CONVERT_EQUIVALENT_H_
#define TRANSMLA_ENGINE_CONVERT_EQUIVALENT_H_

#include "absl/types/span.h"

#include "engine/convert/attention_weights.h"
#include "engine/model/model_spec.h"

namespace transmla {

// `inv_freq` [d / 2] is the source layer's.
LatentWeights BuildEquivalentLayer(const GqaWeights& source, const GqaSpec& spec,
                                   absl::Span<const float> inv_freq);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_EQUIVALENT_H_
