// A frozen gated feed-forward block, f(x · gateᵀ) ∘ (x · upᵀ) · downᵀ, forward and backward: that
// of a layer, or one expert's.
//
// N rows, D = hidden_size, I = the block's own width.
#ifndef TRANSMLA_ENGINE_CONVERT_RECOVER_GATED_BLOCK_H_
#define TRANSMLA_ENGINE_CONVERT_RECOVER_GATED_BLOCK_H_

#include <string>

#include "absl/status/statusor.h"

#include "engine/convert/recover/frozen_model.h"
#include "engine/linalg/float_product.h"

namespace transmla {

// Names of a block's matrices in the model.
struct GatedNames {
  std::string gate, up, down;
};

// What GatedBackward needs of GatedForward.
struct GatedTape {
  FloatMatrix gate, up;  // projections, [N, I]
};

// [N, D] both ways. Errors as FrozenModel's.
absl::StatusOr<FloatMatrix> GatedForward(const FrozenModel& model, const GatedNames& names,
                                         const FloatMatrix& in, GatedTape* tape);
// The gradient of `in`.
absl::StatusOr<FloatMatrix> GatedBackward(const FrozenModel& model, const GatedNames& names,
                                          const GatedTape& tape, const FloatMatrix& out_gradient);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_RECOVER_GATED_BLOCK_H_
