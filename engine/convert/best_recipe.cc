#include "engine/convert/best_recipe.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "engine/base/status.h"
#include "engine/convert/compress.h"
#include "engine/convert/latent_model.h"
#include "engine/convert/output_refit.h"
#include "engine/convert/plan.h"
#include "engine/convert/shared_frequencies.h"
#include "engine/convert/weighted_latent.h"
#include "engine/linalg/product.h"

namespace transmla {
namespace {

// What records of a layer begin with.
constexpr absl::string_view kFitted = "fitted", kRefitted = "refitted";

// Of its stage, fitting without refitting takes one part in so many.
constexpr int kRefitShare = 10;

// The upper left [size, size] of a moment, divided by the number of its vectors.
Matrix MeanBlock(const SecondMoment& moment, int64_t size) {
  Matrix mean(size, size);
  for (int64_t i = 0; i < size; ++i)
    for (int64_t j = 0; j < size; ++j)
      mean(i, j) = moment.sum()(i, j) / static_cast<double>(moment.count());
  return mean;
}

// [k; v] of the source to [k_nope; v]: the position-free rows of `key_map`, and values as they are.
Matrix PositionFreeMap(const Matrix& key_map, int64_t rope) {
  const int64_t width = key_map.rows(), keys = width - rope;
  Matrix map(keys + width, 2 * width);
  for (int64_t i = 0; i < keys; ++i)
    std::copy_n(key_map.row(rope + i).begin(), width, map.row(i).begin());
  for (int64_t i = 0; i < width; ++i) map(keys + i, width + i) = 1;
  return map;
}

// map · moment · mapᵀ
Matrix Mapped(const ConstMatrixView& map, const Matrix& moment) {
  return Multiply(Multiply(map, moment), Transpose::kNo, map, Transpose::kYes);
}

// The longest distance between a query and a key that it sees.
int WithinWindow(int max_distance, int window) {
  return window == 0 ? max_distance : std::clamp(window - 1, 1, max_distance);
}

// Σ over heads of `queries`, as the position-free keys see them.
Matrix KeyWeight(const GqaSpec& gqa, const std::vector<Matrix>& queries, const Matrix& query_map,
                 int64_t rope) {
  const int64_t keys = query_map.rows() - rope, d = gqa.head_dim;
  const int64_t group = gqa.num_attention_heads / gqa.num_key_value_heads;
  Matrix weight(keys, keys);
  for (int64_t head = 0; head < gqa.num_attention_heads; ++head) {
    const Matrix seen = Mapped(query_map.block(rope, head / group * d, keys, d), queries[head]);
    for (size_t i = 0; i < seen.values().size(); ++i) weight.values()[i] += seen.values()[i];
  }
  return weight;
}

// LayerReport::cost_left of directions that cost `costs`.
std::vector<double> CostLeft(const std::vector<double>& costs) {
  constexpr size_t kParts = 32;
  double whole = 0;
  for (const double cost : costs) whole += cost;
  std::vector<double> left;
  for (size_t part = 0; part <= kParts; ++part) {
    double rest = 0;
    for (size_t i = part * costs.size() / kParts; i < costs.size(); ++i) rest += costs[i];
    left.push_back(whole > 0 ? rest / whole : 0);
  }
  return left;
}

}  // namespace

absl::StatusOr<int> BestRecipe::Calibrate(WorkFolder& work, const LayeredModel& source,
                                          TokenSequences calibration) {
  work_ = &work;
  source_model_ = source;
  calibration_ = calibration;
  const int layers = source_.spec().num_layers;
  pass_.emplace(work, "calibration", source, calibration,
                [this, layers](int layer, int done, int total) {
                  return progress_.Advance(layer * total + done, layers * total, layer);
                });
  AttentionObserver observer(*source.backend, source_.spec(), source_.head_order(),
                             options_.q_lora_rank > 0);
  return pass_->Observe(observer);
}

absl::StatusOr<AttentionStatistics> BestRecipe::Statistics(int layer) const {
  ASSIGN_OR_RETURN(const std::string record, pass_->Record(layer));
  return ParseAttentionStatistics(record);
}

std::vector<double> BestRecipe::Centre(const AttentionStatistics& statistics,
                                       const Matrix& map) const {
  const int64_t width = map.cols() / 2;
  Matrix mean(2 * width, 1);
  for (int64_t i = 0; i < 2 * width; ++i)
    mean(i, 0) = statistics.key_value_sum[i] / static_cast<double>(statistics.key_value.count());
  // A soft cap bends a constant in all scores of a query too.
  if (source_.spec().attention_soft_cap != 0) std::fill_n(mean.values().begin(), width, 0.0);
  // An output projection with a bias of its own keeps it, and the values their mean.
  if (source_.spec().output_bias) std::fill_n(mean.values().begin() + width, width, 0.0);
  const Matrix centre = Multiply(map, mean);
  return {centre.values().begin(), centre.values().end()};
}

absl::StatusOr<BestRecipe::OutputWeights> BestRecipe::WeighOutput(
    const AttentionStatistics& statistics, int layer) const {
  const ModelSpec& spec = source_.spec();
  const GqaSpec& gqa = spec.gqa;
  const int64_t d = gqa.head_dim, group = gqa.num_attention_heads / gqa.num_key_value_heads;
  const int64_t width = gqa.num_key_value_heads * d;
  const auto count = static_cast<double>(statistics.key_value.count());
  const double scale = double{spec.attention_scale} * spec.rope_magnitude * spec.rope_magnitude;
  ASSIGN_OR_RETURN(const Matrix output, source_.Output(layer));
  OutputWeights weights{.values = Matrix(width, width), .scores = {}};
  for (int64_t head = 0; head < gqa.num_attention_heads; ++head) {
    const ConstMatrixView columns = output.block(0, head * d, output.rows(), d);
    const Matrix gram = Multiply(columns, Transpose::kYes, columns, Transpose::kNo);
    const int64_t at = head / group * d;
    double spread = 0;
    for (int64_t i = 0; i < d; ++i) {
      for (int64_t j = 0; j < d; ++j) {
        weights.values(at + i, at + j) += gram(i, j);
        const int64_t a = width + at + i, b = width + at + j;
        const double covariance =
            statistics.key_value.sum()(a, b) / count -
            statistics.key_value_sum[a] / count * statistics.key_value_sum[b] / count;
        spread += gram(i, j) * covariance;
      }
    }
    weights.scores.push_back(scale * scale * std::max(spread, 0.0));
  }
  return weights;
}

absl::StatusOr<BestRecipe::LayerKeys> BestRecipe::DecomposeLayer(
    const AttentionStatistics& statistics, int layer, int max_distance) const {
  const ModelSpec& spec = source_.spec();
  const Matrix key_moment = MeanBlock(statistics.key_value, statistics.key_value.width() / 2);
  LayerKeys keys;
  ASSIGN_OR_RETURN(keys.weights, WeighOutput(statistics, layer));
  for (size_t head = 0; head < statistics.query.size(); ++head) {
    keys.queries.push_back(MeanBlock(statistics.query[head], spec.gqa.head_dim));
    for (double& value : keys.queries.back().values()) value *= keys.weights.scores[head];
  }
  ASSIGN_OR_RETURN(
      keys.components,
      DecomposeKeys({.gqa = spec.gqa,
                     .key_moment = &key_moment,
                     .query_moments = keys.queries,
                     .inv_freq = spec.inv_freq[layer],
                     .max_distance = WithinWindow(max_distance, spec.WindowOf(layer))}));
  return keys;
}

absl::Status BestRecipe::ShareFrequencies(int max_distance) {
  std::vector<std::vector<KeyComponent>> layers;
  for (int layer = 0; layer < source_.spec().num_layers; ++layer) {
    ASSIGN_OR_RETURN(const AttentionStatistics statistics, Statistics(layer));
    absl::StatusOr<LayerKeys> keys = DecomposeLayer(statistics, layer, max_distance);
    if (!keys.ok()) return Annotate(keys.status(), absl::StrCat("layer ", layer));
    layers.push_back(std::move(keys->components));
    RETURN_IF_ERROR(progress_.Advance(0, 1));
  }
  shared_pairs_ = ChooseSharedPairs(layers, options_.qk_rope_head_dim / 2);
  return absl::OkStatus();
}

absl::StatusOr<LatentLayerPlan> BestRecipe::PlanLayer(const AttentionStatistics& statistics,
                                                      int layer, int max_distance,
                                                      LayerReport* report) const {
  const ModelSpec& spec = source_.spec();
  const MlaSpec shape = ResolveShape(options_, spec);
  const int64_t rope = shape.qk_rope_head_dim;
  const int64_t width = statistics.key_value.width() / 2;
  const Matrix key_moment = MeanBlock(statistics.key_value, width);
  ASSIGN_OR_RETURN(LayerKeys keys, DecomposeLayer(statistics, layer, max_distance));
  const auto& [weights, queries, components] = keys;
  PutPairsFirst(shared_pairs_, keys.components);
  KeyMaps maps = MakeKeyMaps(components, spec.gqa, spec.inv_freq[layer], shape.qk_rope_head_dim);
  const Matrix map = PositionFreeMap(maps.key_map, rope);
  const Matrix moment = Mapped(map, MeanBlock(statistics.key_value, 2 * width));
  const Matrix key_weight = KeyWeight(spec.gqa, queries, maps.query_map, rope);
  const std::vector<double> centre = Centre(statistics, map);
  ASSIGN_OR_RETURN(WeightedLatent latent, CompressWeighted({.moment = &moment,
                                                            .centre = centre,
                                                            .key_weight = &key_weight,
                                                            .value_weight = &weights.values,
                                                            .kv_lora_rank = shape.kv_lora_rank,
                                                            .balance = Balance()}));
  report->layer = layer;
  report->key_error = latent.key_error;
  report->value_error = latent.value_error;
  report->cost_left = CostLeft(latent.costs);
  const Matrix rotated = Mapped(maps.key_map, key_moment);
  const double energy = Trace(rotated, 0, width);
  report->rope_key_energy_kept = energy > 0 ? Trace(rotated, 0, rope) / energy : 1;

  LatentLayerPlan plan;
  plan.source = spec.gqa;
  plan.query_scale = QueryScale(spec, shape.qk_rope_head_dim);
  plan.nope_scale = double{spec.rope_magnitude} * spec.rope_magnitude;
  plan.qk_rope_head_dim = shape.qk_rope_head_dim;
  plan.key_map = std::move(maps.key_map);
  plan.query_map = std::move(maps.query_map);
  plan.inv_freq = std::move(maps.inv_freq);
  plan.latent = std::move(latent.map);
  if (options_.q_lora_rank > 0) {
    ASSIGN_OR_RETURN(plan.query_basis,
                     PrincipalComponents(statistics.all_queries.sum(), shape.q_lora_rank));
  }
  return plan;
}

double BestRecipe::Balance() const {
  // Refitting makes up for more of what the keys lose than of what the values lose; found on
  // held-back text.
  constexpr double kBeforeRefit = 0.7;
  return options_.balance_kv_ratio * (FitsOutput() ? kBeforeRefit : 1);
}

std::string BestRecipe::RecordName(absl::string_view what, int layer) const {
  return absl::StrFormat("%s-%d-%d-%03d.record", what, options_.qk_rope_head_dim,
                         options_.kv_lora_rank, layer);
}

absl::StatusOr<FittedLayer> BestRecipe::FitLayer(int layer, int max_distance) const {
  const std::string name = RecordName(kFitted, layer);
  if (const absl::StatusOr<std::string> done = work_->Read(name); done.ok())
    return ParseFittedLayer(*done);
  ASSIGN_OR_RETURN(const AttentionStatistics statistics, Statistics(layer));
  FittedLayer fitted;
  ASSIGN_OR_RETURN(const LatentLayerPlan plan,
                   PlanLayer(statistics, layer, max_distance, &fitted.report));
  ASSIGN_OR_RETURN(fitted.weights, BuildLayer(plan, layer));
  RETURN_IF_ERROR(work_->Write(name, SaveFittedLayer(fitted)));
  return fitted;
}

absl::Status BestRecipe::FitLayers(int max_distance, ConversionReport* report) {
  const int layers = source_.spec().num_layers;
  for (int layer = 0; layer < layers; ++layer) {
    absl::StatusOr<FittedLayer> fitted = FitLayer(layer, max_distance);
    if (!fitted.ok()) return Annotate(fitted.status(), absl::StrCat("layer ", layer));
    report->layers.push_back(fitted->report);
    inv_freq_.push_back(fitted->weights.inv_freq);
    source_.checkpoint().ReleasePages();
    RETURN_IF_ERROR(progress_.Advance(layer + 1, kRefitShare * layers, layer + 1));
  }
  return absl::OkStatus();
}

absl::Status BestRecipe::RefitOutputProjections() {
  const int layers = source_.spec().num_layers;
  ModelSpec spec;
  RefittedModel result;
  ASSIGN_OR_RETURN(result.model,
                   FittedModel(source_, *this, options_, *source_model_.backend, &spec));
  result.bias = [this](int layer) -> absl::StatusOr<std::vector<double>> {
    ASSIGN_OR_RETURN(FittedLayer fitted, ReadRecord(kFitted, layer));
    return std::move(fitted.weights.o_bias);
  };
  result.has = [this](int layer) { return ReadRecord(kRefitted, layer).ok(); };
  result.keep = [this](int layer, const Matrix& output,
                       const std::vector<double>& bias) -> absl::Status {
    ASSIGN_OR_RETURN(FittedLayer fitted, ReadLayer(layer));
    fitted.weights.o = output;
    fitted.weights.o_bias = bias;
    return work_->Write(RecordName(kRefitted, layer), SaveFittedLayer(fitted));
  };
  const std::string name =
      absl::StrFormat("refit-%d-%d", options_.qk_rope_head_dim, options_.kv_lora_rank);
  // Half of the text: the other half would double the time for a few per cent of the loss.
  return RefitOutputs(*work_, name, source_model_, source_, result,
                      calibration_.first((calibration_.size() + 1) / 2),
                      [&](int layer, int done, int total) {
                        const int part = total * layers;
                        return progress_.Advance(part + (kRefitShare - 1) * (layer * total + done),
                                                 kRefitShare * part, layer);
                      });
}

absl::Status BestRecipe::Fit(TokenSequences calibration, TokenSequences, ConversionReport* report) {
  const int layers = source_.spec().num_layers;
  RETURN_IF_ERROR(progress_.Enter(ConversionStage::kRotate, layers));
  // Text says nothing about distances longer than its sequences.
  const int max_distance = static_cast<int>(calibration[0].size()) - 1;
  RETURN_IF_ERROR(progress_.Enter(ConversionStage::kCompress, layers));
  if (options_.shared_frequencies) RETURN_IF_ERROR(ShareFrequencies(max_distance));
  RETURN_IF_ERROR(FitLayers(max_distance, report));
  if (FitsOutput()) RETURN_IF_ERROR(RefitOutputProjections());
  return progress_.Advance(1, 1, layers);
}

absl::StatusOr<FittedLayer> BestRecipe::ReadRecord(absl::string_view what, int layer) const {
  ASSIGN_OR_RETURN(const std::string record, work_->Read(RecordName(what, layer)));
  return ParseFittedLayer(record);
}

absl::StatusOr<FittedLayer> BestRecipe::ReadLayer(int layer) const {
  if (FitsOutput()) {
    absl::StatusOr<FittedLayer> refitted = ReadRecord(kRefitted, layer);
    if (refitted.ok()) return refitted;
  }
  return ReadRecord(kFitted, layer);
}

absl::StatusOr<LatentWeights> BestRecipe::Layer(int layer) const {
  ASSIGN_OR_RETURN(FittedLayer fitted, ReadLayer(layer));
  return std::move(fitted.weights);
}

absl::StatusOr<LatentWeights> BestRecipe::BuildLayer(const LatentLayerPlan& plan, int layer) const {
  ASSIGN_OR_RETURN(const GqaWeights weights, source_.Attention(layer));
  LatentWeights latent = BuildLatentLayer(weights, plan);
  if (source_.spec().output_bias) return latent;
  // Attention's weights sum to 1: what was taken out of the values comes back behind it.
  const GqaSpec& gqa = source_.spec().gqa;
  const int64_t d = gqa.head_dim, group = gqa.num_attention_heads / gqa.num_key_value_heads;
  const int64_t values = gqa.num_key_value_heads * d;
  const double* mean = plan.latent.centre.data() + plan.latent.centre.size() - values;
  Matrix attended(gqa.num_attention_heads * d, 1);
  for (int64_t head = 0; head < gqa.num_attention_heads; ++head)
    for (int64_t i = 0; i < d; ++i) attended(head * d + i, 0) = mean[head / group * d + i];
  ASSIGN_OR_RETURN(const Matrix output, source_.Output(layer));
  const Matrix bias = Multiply(output, attended);
  latent.o_bias.assign(bias.values().begin(), bias.values().end());
  return latent;
}

}  // namespace transmla
