#include "engine/convert/recover/frozen_feed_forward.h"

#include "engine/model/family.h"

namespace transmla {
namespace {

GatedNames NamesOf(int layer) {
  const TensorNames& names = kTransMla.Names(CheckpointFormat::kSafetensors);
  return {LayerName(names.gate, layer), LayerName(names.up, layer), LayerName(names.down, layer)};
}

}  // namespace

absl::StatusOr<FloatMatrix> FeedForwardForward(const FrozenModel& model, int layer,
                                               const FloatMatrix& in, FeedForwardTape* tape) {
  return model.spec().HasExperts(layer) ? ExpertsForward(model, layer, in, &tape->experts)
                                        : GatedForward(model, NamesOf(layer), in, &tape->gated);
}

absl::StatusOr<FloatMatrix> FeedForwardBackward(const FrozenModel& model, int layer,
                                                const FeedForwardTape& tape,
                                                const FloatMatrix& out_gradient) {
  return model.spec().HasExperts(layer)
             ? ExpertsBackward(model, layer, tape.experts, out_gradient)
             : GatedBackward(model, NamesOf(layer), tape.gated, out_gradient);
}

}  // namespace transmla
