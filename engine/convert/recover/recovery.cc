#include "engine/convert/recover/recovery.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "absl/strings/str_cat.h"

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/convert/recover/objective.h"
#include "engine/convert/recover/optimizer.h"
#include "engine/convert/sequence_runner.h"

namespace transmla {
namespace {

// Tokens of a step: few, since many small steps learn more from the same text than few large ones.
constexpr int kStepTokens = 512;

FloatMatrix ToFloats(const Matrix& m) {
  FloatMatrix floats(m.rows(), m.cols());
  std::transform(m.values().begin(), m.values().end(), floats.values().begin(),
                 [](double value) { return static_cast<float>(value); });
  return floats;
}

FloatMatrix ToFloats(const std::vector<double>& v) {
  if (v.empty()) return {};
  FloatMatrix floats(1, static_cast<int64_t>(v.size()));
  std::copy(v.begin(), v.end(), floats.values().begin());
  return floats;
}

Matrix ToDoubles(const FloatMatrix& m) {
  Matrix doubles(m.rows(), m.cols());
  std::copy(m.values().begin(), m.values().end(), doubles.values().begin());
  return doubles;
}

std::vector<double> RowToDoubles(const FloatMatrix& m) {
  return {m.values().begin(), m.values().end()};
}

void Add(const FloatMatrix& other, FloatMatrix& to) {
  for (size_t i = 0; i < to.values().size(); ++i) to.values()[i] += other.values()[i];
}

// Keeps the residual stream after the last layer.
class LastHidden : public DecoderObserver {
 public:
  LastHidden(Backend& backend, int last_layer) : backend_(backend), last_layer_(last_layer) {}
  absl::Status OnLayerOutput(int layer, const TensorView& hidden) override {
    if (layer != last_layer_) return absl::OkStatus();
    hidden_ = FloatMatrix(hidden.shape.rows(), hidden.shape.cols());
    return backend_.Read(hidden, absl::MakeSpan(hidden_.values()));
  }
  const FloatMatrix& hidden() const { return hidden_; }

 private:
  Backend& backend_;
  const int last_layer_;
  FloatMatrix hidden_;
};

std::vector<SequenceChunk> WholeSequences(TokenSequences sequences) {
  std::vector<SequenceChunk> chunks;
  for (const std::vector<int32_t>& sequence : sequences)
    chunks.push_back({.lane = static_cast<int>(chunks.size()), .position = 0, .tokens = sequence});
  return chunks;
}

double MeanOf(absl::Span<const double> values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

}  // namespace

struct Recovery::Tape {
  FloatMatrix in;   // residual stream before the layer
  FloatMatrix mid;  // and before its feed-forward block
  AttentionTape attention;
  FeedForwardTape feed_forward;
};

Recovery::Recovery(FrozenModel frozen, const MlaSpec& mla, double scale)
    : frozen_(std::move(frozen)), mla_(mla), scale_(static_cast<float>(scale)) {
  layers_.resize(frozen_.spec().num_layers);
  inv_freq_.resize(frozen_.spec().num_layers);
}

absl::StatusOr<std::unique_ptr<Recovery>> Recovery::Create(const SourceWeights& weights,
                                                           const MlaSpec& mla, double scale) {
  RETURN_IF_ERROR(CheckTrainable(weights.spec()));
  ASSIGN_OR_RETURN(FrozenModel frozen, FrozenModel::Create(weights));
  return std::unique_ptr<Recovery>(new Recovery(std::move(frozen), mla, scale));
}

void Recovery::SetLayer(int layer, const LatentWeights& weights, const Matrix& output) {
  CHECK(weights.q_a.empty());
  layers_[layer] = {.q = ToFloats(weights.q),
                    .kv_a = ToFloats(weights.kv_a),
                    .kv_b = ToFloats(weights.kv_b),
                    .o = ToFloats(output),
                    .q_bias = ToFloats(weights.q_bias),
                    .kv_a_bias = ToFloats(weights.kv_a_bias),
                    .o_bias = ToFloats(weights.o_bias)};
  inv_freq_[layer] = weights.inv_freq;
}

LatentWeights Recovery::Layer(int layer) const {
  const AttentionParameters& parameters = layers_[layer];
  LatentWeights weights;
  weights.q = ToDoubles(parameters.q);
  weights.kv_a = ToDoubles(parameters.kv_a);
  weights.kv_b = ToDoubles(parameters.kv_b);
  weights.o = ToDoubles(parameters.o);
  weights.q_bias = RowToDoubles(parameters.q_bias);
  weights.kv_a_bias = RowToDoubles(parameters.kv_a_bias);
  weights.o_bias = RowToDoubles(parameters.o_bias);
  weights.inv_freq = inv_freq_[layer];
  return weights;
}

AttentionShape Recovery::ShapeOf(int layer, int length) const {
  return {.mla = mla_,
          .scale = scale_,
          .rope_magnitude = frozen_.spec().rope_magnitude,
          .length = length,
          .inv_freq = inv_freq_[layer]};
}

absl::StatusOr<FloatMatrix> Recovery::Forward(absl::Span<const int32_t> ids, int length,
                                              std::vector<Tape>* tapes) const {
  const float eps = frozen_.spec().norm_eps;
  ASSIGN_OR_RETURN(FloatMatrix hidden, frozen_.Embed(ids));
  for (int layer = 0; layer < frozen_.spec().num_layers; ++layer) {
    Tape& tape = (*tapes)[layer];
    tape.in = hidden;
    ASSIGN_OR_RETURN(const std::vector<float> attention_norm, frozen_.AttentionNorm(layer));
    Add(AttentionForward(ShapeOf(layer, length), layers_[layer],
                         RmsNorm(hidden, attention_norm, eps), &tape.attention),
        hidden);
    tape.mid = hidden;
    ASSIGN_OR_RETURN(const std::vector<float> norm, frozen_.FeedForwardNorm(layer));
    ASSIGN_OR_RETURN(const FloatMatrix out,
                     frozen_.FeedForward(layer, RmsNorm(hidden, norm, eps), &tape.feed_forward));
    Add(out, hidden);
  }
  return hidden;
}

absl::Status Recovery::Backward(FloatMatrix gradient, int length, const std::vector<Tape>& tapes,
                                const std::function<void(int, AttentionParameters*)>& apply) const {
  const float eps = frozen_.spec().norm_eps;
  for (int layer = frozen_.spec().num_layers - 1; layer >= 0; --layer) {
    const Tape& tape = tapes[layer];
    ASSIGN_OR_RETURN(const std::vector<float> norm, frozen_.FeedForwardNorm(layer));
    ASSIGN_OR_RETURN(const FloatMatrix fed,
                     frozen_.FeedForwardBackward(layer, tape.feed_forward, gradient));
    Add(RmsNormBackward(tape.mid, norm, eps, fed), gradient);
    ASSIGN_OR_RETURN(const std::vector<float> attention_norm, frozen_.AttentionNorm(layer));
    AttentionParameters own = ZerosLike(layers_[layer]);
    const FloatMatrix attended =
        AttentionBackward(ShapeOf(layer, length), layers_[layer],
                          RmsNorm(tape.in, attention_norm, eps), tape.attention, gradient, &own);
    Add(RmsNormBackward(tape.in, attention_norm, eps, attended), gradient);
    apply(layer, &own);
  }
  return absl::OkStatus();
}

absl::StatusOr<RecoveryLoss> Recovery::Train(Decoder& source, Backend& backend, TokenSequences text,
                                             const RecoveryOptions& options,
                                             const SequenceProgress& progress) {
  CHECK(!text.empty());
  std::vector<std::vector<int32_t>> sequences;
  for (const std::vector<int32_t>& sequence : text)
    if (sequence.size() == text[0].size()) sequences.push_back(sequence);
  const int length = static_cast<int>(text[0].size());
  const int total = static_cast<int>(sequences.size());
  const int at_once = std::max(1, kStepTokens / length);
  const int steps = (total + at_once - 1) / at_once;

  ASSIGN_OR_RETURN(SequenceRunner runner,
                   SequenceRunner::Create(source, backend, DType::kF32, at_once, length));
  LastHidden last(backend, frozen_.spec().num_layers - 1);
  std::vector<Optimizer> optimizers;
  for (AttentionParameters& parameters : layers_)
    optimizers.emplace_back(
        OptimizerOptions{.steps = steps, .learning_rate = options.learning_rate}, parameters.All());
  ASSIGN_OR_RETURN(const std::vector<float> final_norm, frozen_.FinalNorm());
  const float eps = frozen_.spec().norm_eps;
  std::vector<Tape> tapes(layers_.size());
  std::vector<double> losses;
  for (int begin = 0; begin < total; begin += at_once) {
    const TokenSequences batch =
        absl::MakeConstSpan(sequences).subspan(begin, static_cast<size_t>(at_once));
    RETURN_IF_ERROR(runner.Run(WholeSequences(batch), &last).status());
    std::vector<int32_t> ids;
    for (const std::vector<int32_t>& sequence : batch)
      ids.insert(ids.end(), sequence.begin(), sequence.end());
    ASSIGN_OR_RETURN(const FloatMatrix hidden, Forward(ids, length, &tapes));
    ASSIGN_OR_RETURN(const Loss loss,
                     DistillationLoss(frozen_, RmsNorm(last.hidden(), final_norm, eps),
                                      RmsNorm(hidden, final_norm, eps)));
    if (!std::isfinite(loss.kl))
      return absl::InternalError(absl::StrCat("recovery's loss is ", loss.kl, " after ", begin,
                                              " of ", total, " sequences"));
    losses.push_back(loss.kl);
    RETURN_IF_ERROR(Backward(RmsNormBackward(hidden, final_norm, eps, loss.gradient), length, tapes,
                             [&](int layer, AttentionParameters* gradient) {
                               optimizers[layer].Step(gradient->All());
                             }));
    if (progress) RETURN_IF_ERROR(progress(std::min(begin + at_once, total), total));
  }
  const size_t tenth = std::max<size_t>(1, losses.size() / 10);
  return RecoveryLoss{.tokens = int64_t{total} * length,
                      .first = MeanOf(absl::MakeConstSpan(losses).first(tenth)),
                      .last = MeanOf(absl::MakeConstSpan(losses).last(tenth))};
}

}  // namespace transmla
