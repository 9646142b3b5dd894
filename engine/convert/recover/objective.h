// The loss of recovery: mean KL(source ‖ converted) of the next token's distribution, nats.
#ifndef TRANSMLA_ENGINE_CONVERT_RECOVER_OBJECTIVE_H_
#define TRANSMLA_ENGINE_CONVERT_RECOVER_OBJECTIVE_H_

#include "absl/status/statusor.h"

#include "engine/convert/recover/frozen_model.h"
#include "engine/linalg/float_product.h"

namespace transmla {

struct Loss {
  double kl = 0;
  FloatMatrix gradient;  // of `converted`, [N, D]
};

// From what the output matrix, which both models share, sees: [N, D], after the final norm. Memory
// beyond these is bounded whatever the vocabulary; errors as FrozenModel's.
absl::StatusOr<Loss> DistillationLoss(const FrozenModel& model, const FloatMatrix& source,
                                      const FloatMatrix& converted);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_RECOVER_OBJECTIVE_H_
