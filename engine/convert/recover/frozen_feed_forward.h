// The source's feed-forward blocks, forward and backward: they are not trained, but what is trained
// is seen through them.
//
// N rows, D = hidden_size.
#ifndef TRANSMLA_ENGINE_CONVERT_RECOVER_FROZEN_FEED_FORWARD_H_
#define TRANSMLA_ENGINE_CONVERT_RECOVER_FROZEN_FEED_FORWARD_H_

#include "absl/status/statusor.h"

#include "engine/convert/recover/frozen_experts.h"
#include "engine/convert/recover/frozen_model.h"
#include "engine/convert/recover/gated_block.h"
#include "engine/linalg/float_product.h"

namespace transmla {

// What FeedForwardBackward needs of FeedForwardForward.
struct FeedForwardTape {
  GatedTape gated;      // of a layer without experts
  ExpertsTape experts;  // of one with
};

// Layer `layer`'s block of normed rows, [N, D]. Errors as FrozenModel's.
absl::StatusOr<FloatMatrix> FeedForwardForward(const FrozenModel& model, int layer,
                                               const FloatMatrix& in, FeedForwardTape* tape);
// The gradient of its input, [N, D].
absl::StatusOr<FloatMatrix> FeedForwardBackward(const FrozenModel& model, int layer,
                                                const FeedForwardTape& tape,
                                                const FloatMatrix& out_gradient);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_RECOVER_FROZEN_FEED_FORWARD_H_
