// The feed-forward block of a layer with experts, forward and backward: each token goes to those
// that its router likes best, and their results are added with the router's weights.
//
// Gradients pass through the experts and through the weights. The choice is as good as constant: it
// changes in jumps, which have no slope.
//
// N tokens, D = hidden_size, E experts of which a token goes to K.
#ifndef TRANSMLA_ENGINE_CONVERT_RECOVER_FROZEN_EXPERTS_H_
#define TRANSMLA_ENGINE_CONVERT_RECOVER_FROZEN_EXPERTS_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"

#include "engine/convert/recover/frozen_model.h"
#include "engine/convert/recover/gated_block.h"
#include "engine/linalg/float_product.h"

namespace transmla {

// What ExpertsBackward needs of ExpertsForward. A route is a token's way to one of its experts:
// route i is of token i / K.
struct ExpertsTape {
  struct Expert {
    std::vector<int32_t> routes;  // that lead to it
    GatedTape gated;              // of their tokens, in this order
    FloatMatrix out;              // what it makes of them, [routes, D]
  };
  FloatMatrix logits;            // the router's, [N, E]
  std::vector<int32_t> experts;  // of each route, [N · K]
  std::vector<float> weights;    // as experts
  std::vector<Expert> by_expert;
};

// [N, D] both ways. Errors as FrozenModel's. REQUIRES: the layer has experts, weighed by softmax.
absl::StatusOr<FloatMatrix> ExpertsForward(const FrozenModel& model, int layer,
                                           const FloatMatrix& in, ExpertsTape* tape);
// The gradient of `in`.
absl::StatusOr<FloatMatrix> ExpertsBackward(const FrozenModel& model, int layer,
                                            const ExpertsTape& tape,
                                            const FloatMatrix& out_gradient);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_RECOVER_FROZEN_EXPERTS_H_
