#include "engine/convert/recover/trained_layer.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "engine/base/status.h"
#include "engine/model/family.h"

namespace transmla {
namespace {

void Add(const FloatMatrix& other, FloatMatrix& to) {
  for (size_t i = 0; i < to.values().size(); ++i) to.values()[i] += other.values()[i];
}

const TensorNames& Names() { return kTransMla.Names(CheckpointFormat::kSafetensors); }

// The model's norms of a layer.
class Norms {
 public:
  explicit Norms(const TrainedLayer& layer)
      : model_(*layer.model), layer_(layer.layer), eps_(layer.model->spec().norm_eps) {}

  absl::StatusOr<FloatMatrix> Forward(absl::string_view pattern, const FloatMatrix& in) const {
    ASSIGN_OR_RETURN(const std::vector<float> weight, model_.Vector(LayerName(pattern, layer_)));
    return RmsNorm(in, weight, eps_);
  }
  absl::StatusOr<FloatMatrix> Backward(absl::string_view pattern, const FloatMatrix& in,
                                       const FloatMatrix& gradient) const {
    ASSIGN_OR_RETURN(const std::vector<float> weight, model_.Vector(LayerName(pattern, layer_)));
    return RmsNormBackward(in, weight, eps_, gradient);
  }

  // What a block makes joins the residual stream, behind a norm if the model has them; then `kept`
  // gets what the norm got.
  absl::Status Join(absl::string_view pattern, FloatMatrix out, FloatMatrix* kept,
                    FloatMatrix* hidden) const {
    if (!model_.spec().post_norms) {
      Add(out, *hidden);
      return absl::OkStatus();
    }
    ASSIGN_OR_RETURN(const FloatMatrix normed, Forward(pattern, out));
    Add(normed, *hidden);
    *kept = std::move(out);
    return absl::OkStatus();
  }
  // The gradient of what the block makes.
  absl::StatusOr<FloatMatrix> JoinBackward(absl::string_view pattern, const FloatMatrix& kept,
                                           const FloatMatrix& gradient) const {
    if (!model_.spec().post_norms) return gradient;
    return Backward(pattern, kept, gradient);
  }

 private:
  const FrozenModel& model_;
  const int layer_;
  const float eps_;
};

absl::StatusOr<FloatMatrix> Attend(const TrainedLayer& layer, const FloatMatrix& normed,
                                   LayerTape* tape) {
  const bool behind_norms = layer.model->spec().qk_norm;
  if (behind_norms)
    RETURN_IF_ERROR(NormedHeadsForward(*layer.model, layer.layer, normed, &tape->heads));
  FloatMatrix out = AttentionForward(layer.shape, *layer.parameters,
                                     behind_norms ? tape->heads.out : normed, &tape->attention);
  if (!layer.model->spec().output_bias) return out;
  ASSIGN_OR_RETURN(
      const std::vector<float> bias,
      layer.model->Vector(absl::StrCat(LayerName(Names().attention_output, layer.layer), ".bias")));
  AddToRows(bias, out);
  return out;
}

// The gradient of the residual stream before the block, as far as it comes through the block.
absl::StatusOr<FloatMatrix> AttendBackward(const TrainedLayer& layer, const LayerTape& tape,
                                           const FloatMatrix& out_gradient,
                                           AttentionParameters* own) {
  const Norms norms(layer);
  FloatMatrix in_gradient;
  if (layer.model->spec().qk_norm) {
    const FloatMatrix heads = AttentionBackward(layer.shape, *layer.parameters, tape.heads.out,
                                                tape.attention, out_gradient, own);
    ASSIGN_OR_RETURN(in_gradient,
                     NormedHeadsBackward(*layer.model, layer.layer, tape.heads, heads));
  } else {
    ASSIGN_OR_RETURN(const FloatMatrix in, norms.Forward(Names().attention_norm, tape.in));
    in_gradient =
        AttentionBackward(layer.shape, *layer.parameters, in, tape.attention, out_gradient, own);
  }
  return norms.Backward(Names().attention_norm, tape.in, in_gradient);
}

}  // namespace

absl::Status LayerForward(const TrainedLayer& layer, FloatMatrix* hidden, LayerTape* tape) {
  const Norms norms(layer);
  tape->in = *hidden;
  ASSIGN_OR_RETURN(FloatMatrix normed, norms.Forward(Names().attention_norm, *hidden));
  ASSIGN_OR_RETURN(FloatMatrix attended, Attend(layer, normed, tape));
  RETURN_IF_ERROR(
      norms.Join(Names().post_attention_norm, std::move(attended), &tape->attended, hidden));
  tape->mid = *hidden;
  ASSIGN_OR_RETURN(normed, norms.Forward(Names().feed_forward_norm, *hidden));
  ASSIGN_OR_RETURN(FloatMatrix fed,
                   FeedForwardForward(*layer.model, layer.layer, normed, &tape->feed_forward));
  return norms.Join(Names().post_feed_forward_norm, std::move(fed), &tape->fed, hidden);
}

absl::Status LayerBackward(const TrainedLayer& layer, const LayerTape& tape, FloatMatrix* gradient,
                           AttentionParameters* own) {
  const Norms norms(layer);
  ASSIGN_OR_RETURN(FloatMatrix out,
                   norms.JoinBackward(Names().post_feed_forward_norm, tape.fed, *gradient));
  ASSIGN_OR_RETURN(FloatMatrix in,
                   FeedForwardBackward(*layer.model, layer.layer, tape.feed_forward, out));
  ASSIGN_OR_RETURN(in, norms.Backward(Names().feed_forward_norm, tape.mid, in));
  Add(in, *gradient);
  ASSIGN_OR_RETURN(out, norms.JoinBackward(Names().post_attention_norm, tape.attended, *gradient));
  ASSIGN_OR_RETURN(in, AttendBackward(layer, tape, out, own));
  Add(in, *gradient);
  return absl::OkStatus();
}

}  // namespace transmla
