#include "engine/convert/recover/recovery.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/convert/recover/objective.h"
#include "engine/convert/recover/optimizer.h"
#include "engine/convert/sequence_runner.h"
#include "engine/convert/work_record.h"

namespace transmla {
namespace {

// Tokens of a step: few, since many small steps learn more from the same text than few large ones.
constexpr int kStepTokens = 512;
// Of the source's matrices, kept as float32.
constexpr int64_t kDecodedBytes = int64_t{2} << 30;
// From one record to the next. Of each trained weight 12 bytes are written, and in so many steps at
// least 4 · 512 tokens · 8 operations computed: at 1 GB and 100 billion operations a second, 7 % of
// the time where the attention is all of the model, 2 % where it is a quarter.
constexpr int kStepsBetweenRecords = 4;
constexpr absl::string_view kRecord = "recovery.record";

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

// Appends what is not empty of `parameters`, in the order of All(), cut by heads and by latent and
// rope key.
void AddTrained(const MlaSpec& mla, AttentionParameters& parameters,
                std::vector<TrainedMatrix>* trained) {
  const auto heads = [&mla](int64_t width) {
    return std::vector<int64_t>(mla.num_attention_heads, width);
  };
  trained->push_back({.values = &parameters.q,
                      .row_blocks = heads(mla.qk_nope_head_dim + mla.qk_rope_head_dim),
                      .col_blocks = {parameters.q.cols()}});
  trained->push_back({.values = &parameters.kv_a,
                      .row_blocks = {mla.kv_lora_rank, mla.qk_rope_head_dim},
                      .col_blocks = {parameters.kv_a.cols()}});
  trained->push_back({.values = &parameters.kv_b,
                      .row_blocks = heads(mla.qk_nope_head_dim + mla.v_head_dim),
                      .col_blocks = {mla.kv_lora_rank}});
  trained->push_back({.values = &parameters.o,
                      .row_blocks = {parameters.o.rows()},
                      .col_blocks = heads(mla.v_head_dim)});
  for (FloatMatrix* bias : {&parameters.q_bias, &parameters.kv_a_bias, &parameters.o_bias})
    if (!bias->empty()) trained->push_back({.values = bias, .row_blocks = {}, .col_blocks = {}});
  if (!parameters.q_a.empty())
    trained->push_back({.values = &parameters.q_a,
                        .row_blocks = {parameters.q_a.rows()},
                        .col_blocks = {parameters.q_a.cols()}});
  if (!parameters.q_a_bias.empty())
    trained->push_back({.values = &parameters.q_a_bias, .row_blocks = {}, .col_blocks = {}});
}

absl::Status Save(WorkFolder& work, const std::vector<double>& losses, const Optimizer& optimizer) {
  ASSIGN_OR_RETURN(RecordFile file, work.Create(kRecord));
  RecordWriter record;
  record.Put(losses);
  RETURN_IF_ERROR(file.Append(record.Take()));
  RETURN_IF_ERROR(optimizer.Save(file));
  return file.Finish();
}

// Changes nothing if there is no whole record.
absl::Status Load(const WorkFolder& work, std::vector<double>* losses, Optimizer* optimizer) {
  const absl::StatusOr<MappedRecord> saved = work.Map(kRecord);
  if (!saved.ok()) return absl::OkStatus();
  RecordReader record(saved->bytes);
  *losses = record.Values<double>();
  optimizer->Load(record);
  return record.Finish();
}

double MeanOf(absl::Span<const double> values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

}  // namespace

Recovery::Recovery(FrozenModel frozen, const MlaSpec& mla, double scale)
    : frozen_(std::move(frozen)), mla_(mla), scale_(static_cast<float>(scale)) {
  layers_.resize(frozen_.spec().num_layers);
  inv_freq_.resize(frozen_.spec().num_layers);
}

absl::StatusOr<std::unique_ptr<Recovery>> Recovery::Create(const SourceWeights& weights,
                                                           const MlaSpec& mla, double scale) {
  ASSIGN_OR_RETURN(FrozenModel frozen, FrozenModel::Create(weights, kDecodedBytes));
  return std::unique_ptr<Recovery>(new Recovery(std::move(frozen), mla, scale));
}

void Recovery::SetLayer(int layer, const LatentWeights& weights) {
  CHECK(weights.q_a_norm.empty() && weights.kv_a_norm.empty() && !weights.o.empty());
  CHECK_EQ(weights.behind_norms, frozen_.spec().qk_norm);
  layers_[layer] = {.q = ToFloats(weights.q),
                    .kv_a = ToFloats(weights.kv_a),
                    .kv_b = ToFloats(weights.kv_b),
                    .o = ToFloats(weights.o),
                    .q_bias = ToFloats(weights.q_bias),
                    .kv_a_bias = ToFloats(weights.kv_a_bias),
                    .o_bias = ToFloats(weights.o_bias),
                    .q_a = ToFloats(weights.q_a),
                    .q_a_bias = ToFloats(weights.q_a_bias)};
  inv_freq_[layer] = weights.inv_freq;
}

LatentWeights Recovery::Layer(int layer) const {
  const AttentionParameters& parameters = layers_[layer];
  LatentWeights weights;
  weights.q_a = ToDoubles(parameters.q_a);
  weights.q_a_bias = RowToDoubles(parameters.q_a_bias);
  weights.q = ToDoubles(parameters.q);
  weights.kv_a = ToDoubles(parameters.kv_a);
  weights.kv_b = ToDoubles(parameters.kv_b);
  weights.o = ToDoubles(parameters.o);
  weights.q_bias = RowToDoubles(parameters.q_bias);
  weights.kv_a_bias = RowToDoubles(parameters.kv_a_bias);
  weights.o_bias = RowToDoubles(parameters.o_bias);
  weights.inv_freq = inv_freq_[layer];
  weights.behind_norms = frozen_.spec().qk_norm;
  return weights;
}

TrainedLayer Recovery::LayerOf(int layer, int length) const {
  const ModelSpec& spec = frozen_.spec();
  return {.model = &frozen_,
          .layer = layer,
          .shape = {.mla = mla_,
                    .scale = scale_,
                    .rope_magnitude = spec.rope_magnitude,
                    .soft_cap = spec.attention_soft_cap,
                    .window = spec.WindowOf(layer),
                    .length = length,
                    .inv_freq = inv_freq_[layer],
                    .normed_head_dim = spec.qk_norm ? spec.gqa.head_dim : 0},
          .parameters = &layers_[layer]};
}

absl::StatusOr<FloatMatrix> Recovery::Forward(absl::Span<const int32_t> ids,
                                              std::vector<LayerTape>* tapes) const {
  const int length = static_cast<int>(ids.size());
  tapes->resize(layers_.size());
  ASSIGN_OR_RETURN(FloatMatrix hidden, frozen_.Embed(ids));
  for (int layer = 0; layer < frozen_.spec().num_layers; ++layer)
    RETURN_IF_ERROR(LayerForward(LayerOf(layer, length), &hidden, &(*tapes)[layer]));
  return hidden;
}

absl::StatusOr<double> Recovery::Gradients(TokenSequences batch, const FloatMatrix& source,
                                           ThreadPool& pool,
                                           std::vector<AttentionParameters>* gradients) {
  const auto sequences = static_cast<int64_t>(batch.size());
  const auto length = static_cast<int64_t>(batch[0].size());
  ASSIGN_OR_RETURN(const std::vector<float> final_norm, frozen_.FinalNorm());
  const float eps = frozen_.spec().norm_eps;
  tapes_.resize(std::max(tapes_.size(), batch.size()));
  std::vector<absl::Status> statuses(sequences);
  std::vector<double> losses(sequences);
  std::vector<FloatMatrix> streams(sequences);  // gradients of the residual streams
  const auto whole = [&](int64_t i) -> absl::Status {
    ASSIGN_OR_RETURN(const FloatMatrix hidden, Forward(batch[i], &tapes_[i]));
    FloatMatrix wanted(length, source.cols());
    std::copy_n(source.row(i * length), wanted.values().size(), wanted.row(0));
    ASSIGN_OR_RETURN(const Loss loss, DistillationLoss(frozen_, RmsNorm(wanted, final_norm, eps),
                                                       RmsNorm(hidden, final_norm, eps)));
    losses[i] = loss.kl;
    streams[i] = RmsNormBackward(hidden, final_norm, eps, loss.gradient);
    return absl::OkStatus();
  };
  pool.ParallelFor(sequences, [&](int64_t i, int) { statuses[i] = whole(i); });
  for (const absl::Status& status : statuses) RETURN_IF_ERROR(status);
  double mean = 0;
  for (const double loss : losses) mean += loss / static_cast<double>(sequences);
  for (int layer = frozen_.spec().num_layers - 1; layer >= 0; --layer) {
    std::vector<AttentionParameters> own(sequences, ZerosLike(layers_[layer]));
    const TrainedLayer of_length = LayerOf(layer, static_cast<int>(length));
    pool.ParallelFor(sequences, [&](int64_t i, int) {
      statuses[i] = LayerBackward(of_length, tapes_[i][layer], &streams[i], &own[i]);
    });
    for (const absl::Status& status : statuses) RETURN_IF_ERROR(status);
    // In order, so that the sum is the same whichever thread was first.
    for (int64_t i = 1; i < sequences; ++i)
      for (size_t m = 0; m < own[0].All().size(); ++m) Add(*own[i].All()[m], *own[0].All()[m]);
    for (FloatMatrix* matrix : own[0].All())
      for (float& value : matrix->values()) value /= static_cast<float>(sequences);
    (*gradients)[layer] = std::move(own[0]);
  }
  return mean;
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
  std::vector<TrainedMatrix> trained;
  for (AttentionParameters& parameters : layers_) AddTrained(mla_, parameters, &trained);
  if (!options.eigenbases)
    for (TrainedMatrix& matrix : trained) matrix.row_blocks = matrix.col_blocks = {};
  Optimizer optimizer({.steps = steps, .learning_rate = options.learning_rate}, trained);
  // Each sequence on a core of its own; if there are more cores than that, all of them on one
  // product after the other.
  const int threads = backend.info().host_threads;
  ThreadPool pool(threads <= at_once ? threads : 1);
  std::optional<OneThreadAProduct> one_thread;
  if (threads <= at_once) one_thread.emplace();
  std::vector<AttentionParameters> gradients(layers_.size());
  std::vector<double> losses;  // of the steps that are done
  if (options.work != nullptr) RETURN_IF_ERROR(Load(*options.work, &losses, &optimizer));
  const int resumed = std::min(total, static_cast<int>(losses.size()) * at_once);
  for (int begin = resumed; begin < total; begin += at_once) {
    const TokenSequences batch =
        absl::MakeConstSpan(sequences).subspan(begin, static_cast<size_t>(at_once));
    RETURN_IF_ERROR(runner.Run(WholeSequences(batch), &last).status());
    ASSIGN_OR_RETURN(const double loss, Gradients(batch, last.hidden(), pool, &gradients));
    if (!std::isfinite(loss))
      return absl::InternalError(
          absl::StrCat("recovery's loss is ", loss, " after ", begin, " of ", total, " sequences"));
    losses.push_back(loss);
    std::vector<const FloatMatrix*> of_trained;
    for (AttentionParameters& gradient : gradients)
      for (const FloatMatrix* matrix : gradient.All())
        if (!matrix->empty()) of_trained.push_back(matrix);
    RETURN_IF_ERROR(optimizer.Step(of_trained, pool));
    const auto done = static_cast<int>(losses.size());
    if (options.work != nullptr && (done % kStepsBetweenRecords == 0 || done == steps))
      RETURN_IF_ERROR(Save(*options.work, losses, optimizer));
    if (progress) RETURN_IF_ERROR(progress(std::min(begin + at_once, total), total));
  }
  const size_t tenth = std::max<size_t>(1, losses.size() / 10);
  return RecoveryLoss{.tokens = int64_t{total} * length,
                      .resumed_tokens = int64_t{resumed} * length,
                      .first = MeanOf(absl::MakeConstSpan(losses).first(tenth)),
                      .last = MeanOf(absl::MakeConstSpan(losses).last(tenth))};
}

}  // namespace transmla
