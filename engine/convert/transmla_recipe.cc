#include "engine/convert/transmla_recipe.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/convert/evaluate.h"
#include "engine/convert/freq_fold.h"
#include "engine/convert/latent_checkpoint.h"
#include "engine/convert/plan.h"
#include "engine/convert/rotate.h"
#include "engine/linalg/product.h"

namespace transmla {
namespace {

// Calibration sequences that the search for freqfold measures perplexity on. All candidates see the
// same ones, so a few tell apart what differs enough to matter.
constexpr size_t kSearchSequences = 8;

// At most this many candidates: freqfold doubles, and 2^6 frequencies are a head dimension of 128.
// For progress only.
constexpr int kSearchSteps = 4;

// The upper left [size, size] of `m`.
Matrix LeadingBlock(const Matrix& m, int64_t size) {
  Matrix block(size, size);
  for (int64_t i = 0; i < size; ++i) std::copy_n(m.row(i).begin(), size, block.row(i).begin());
  return block;
}

absl::Status AnnotateLayer(const absl::Status& status, int layer) {
  return Annotate(status, absl::StrCat("layer ", layer));
}

}  // namespace

TransMlaRecipe::TransMlaRecipe(const ConvertOptions& options, const ConversionContext& context,
                               const SourceWeights& source, ProgressTracker& progress)
    : options_(options), context_(context), source_(source), progress_(progress) {}

absl::StatusOr<int> TransMlaRecipe::Calibrate(WorkFolder& work, const LayeredModel& source,
                                              TokenSequences calibration) {
  const int layers = source_.spec().num_layers;
  LayerPass pass(work, "keys", source, calibration, [&](int layer, int done, int total) {
    return progress_.Advance(layer * total + done, layers * total, layer);
  });
  KeyMoments observer(*source.backend, source_.spec(), source_.head_order());
  ASSIGN_OR_RETURN(const int finished, pass.Observe(observer));
  for (int layer = 0; layer < layers; ++layer) {
    ASSIGN_OR_RETURN(const std::string record, pass.Record(layer));
    RecordReader reader(record);
    keys_.push_back(SecondMoment::Load(reader));
    RETURN_IF_ERROR(reader.Finish());
  }
  return finished;
}

absl::Status TransMlaRecipe::Fit(TokenSequences calibration, TokenSequences evaluation,
                                 ConversionReport* report) {
  RETURN_IF_ERROR(Rotate(keys_, calibration, evaluation, report));
  ASSIGN_OR_RETURN(const LatentMoments moments, CalibrateRotated(calibration));
  return Compress(moments, report);
}

absl::StatusOr<std::vector<LatentLayerPlan>> TransMlaRecipe::PartialRopePlans(
    const std::vector<SecondMoment>& keys, int freqfold) const {
  const ModelSpec& spec = source_.spec();
  const RotationShape shape{.num_key_value_heads = spec.gqa.num_key_value_heads,
                            .head_dim = spec.gqa.head_dim,
                            .qk_rope_head_dim = options_.qk_rope_head_dim,
                            .freqfold = freqfold};
  std::vector<LatentLayerPlan> plans;
  for (int layer = 0; layer < spec.num_layers; ++layer) {
    RETURN_IF_ERROR(progress_.Advance(0, 1));
    // Orthogonal, so that queries turn as keys do.
    absl::StatusOr<Matrix> rotation = RopeRotation(keys[layer].sum(), shape);
    if (!rotation.ok()) return AnnotateLayer(rotation.status(), layer);
    LatentLayerPlan plan;
    plan.source = spec.gqa;
    plan.query_scale = QueryScale(spec, options_.qk_rope_head_dim);
    plan.nope_scale = double{spec.rope_magnitude} * spec.rope_magnitude;
    plan.qk_rope_head_dim = options_.qk_rope_head_dim;
    plan.query_map = *rotation;
    plan.key_map = *std::move(rotation);
    plan.inv_freq = KeptFrequencies(spec.inv_freq[layer], shape);
    plans.push_back(std::move(plan));
  }
  return plans;
}

absl::StatusOr<LoadedModel> TransMlaRecipe::LoadPartialRope(
    const std::vector<LatentLayerPlan>& plans, const StepLimits& limits) {
  MlaSpec mla = ResolveShape(options_, source_.spec());
  mla.q_lora_rank = 0;
  // Nothing is compressed yet.
  mla.kv_lora_rank = static_cast<int>(2 * plans[0].key_map.rows()) - options_.qk_rope_head_dim;
  auto checkpoint = std::make_shared<LatentCheckpoint>(
      source_, LatentConfig(source_, mla, ResolveBiases(options_, source_.spec()),
                            ResolveAttentionScale(options_, source_.spec())));
  for (size_t layer = 0; layer < plans.size(); ++layer) {
    RETURN_IF_ERROR(progress_.Advance(0, 1));
    ASSIGN_OR_RETURN(const GqaWeights weights, source_.Attention(static_cast<int>(layer)));
    checkpoint->AddLayer(static_cast<int>(layer), BuildLatentLayer(weights, plans[layer]));
  }
  return LoadModel(context_, std::move(checkpoint), limits);
}

absl::StatusOr<double> TransMlaRecipe::PartialRopePerplexity(
    const std::vector<LatentLayerPlan>& plans, TokenSequences sequences) {
  const int length = static_cast<int>(sequences[0].size());
  ASSIGN_OR_RETURN(LoadedModel model, LoadPartialRope(plans, EvaluationLimits(length)));
  absl::Status cancelled;
  const absl::StatusOr<PerplexityResult> result =
      EvaluatePerplexity(*model.decoder, *model.backend, sequences, DType::kF32, [&](int, int) {
        cancelled = progress_.Advance(0, 1);
        return cancelled.ok();
      });
  RETURN_IF_ERROR(cancelled);
  if (!result.ok()) return result.status();
  return result->perplexity;
}

absl::StatusOr<int> TransMlaRecipe::SearchFreqFold(const std::vector<SecondMoment>& keys,
                                                   TokenSequences calibration) {
  const GqaSpec& gqa = source_.spec().gqa;
  const TokenSequences text = calibration.subspan(0, kSearchSequences);
  int tried = 0;
  ASSIGN_OR_RETURN(const FreqFoldChoice choice,
                   ChooseFreqFold(gqa.head_dim / options_.qk_rope_head_dim, gqa.head_dim / 2,
                                  [&](int freqfold) -> absl::StatusOr<double> {
                                    ASSIGN_OR_RETURN(const std::vector<LatentLayerPlan> plans,
                                                     PartialRopePlans(keys, freqfold));
                                    ASSIGN_OR_RETURN(const double perplexity,
                                                     PartialRopePerplexity(plans, text));
                                    RETURN_IF_ERROR(progress_.Advance(++tried, kSearchSteps + 1));
                                    return perplexity;
                                  }));
  return choice.freqfold;
}

absl::Status TransMlaRecipe::Rotate(const std::vector<SecondMoment>& keys,
                                    TokenSequences calibration, TokenSequences evaluation,
                                    ConversionReport* report) {
  RETURN_IF_ERROR(progress_.Enter(ConversionStage::kRotate, source_.spec().num_layers));
  report->freqfold = options_.freqfold;
  if (report->freqfold == 0) {
    ASSIGN_OR_RETURN(report->freqfold, SearchFreqFold(keys, calibration));
  }
  ASSIGN_OR_RETURN(plans_, PartialRopePlans(keys, report->freqfold));
  if (!evaluation.empty()) {
    ASSIGN_OR_RETURN(report->perplexity_partial_rope, PartialRopePerplexity(plans_, evaluation));
  }
  return progress_.Advance(1, 1, source_.spec().num_layers);
}

absl::Status TransMlaRecipe::CompressLayer(const LatentMoments& moments, int layer,
                                           LayerReport* report) {
  const Matrix& moment = moments.kv[layer].sum();
  const int64_t width = moment.rows() - options_.qk_rope_head_dim;
  const MlaSpec shape = ResolveShape(options_, source_.spec());
  LatentLayerPlan& plan = plans_[layer];
  const int key_width = static_cast<int>(plan.key_map.rows()) - options_.qk_rope_head_dim;
  LatentBasis& basis = bases_[layer];
  ASSIGN_OR_RETURN(basis, CompressKeysAndValues(LeadingBlock(moment, width),
                                                {.key_width = key_width,
                                                 .kv_lora_rank = shape.kv_lora_rank,
                                                 .balance_kv_ratio = options_.balance_kv_ratio}));
  plan.latent = MakeLatentMap(basis, key_width);
  if (options_.q_lora_rank > 0) {
    ASSIGN_OR_RETURN(plan.query_basis,
                     PrincipalComponents(moments.query[layer].sum(), shape.q_lora_rank));
  }
  report->layer = layer;
  report->key_error = basis.key_error;
  report->value_error = basis.value_error;
  const double rope = Trace(moment, width, moment.rows());
  const double keys = rope + Trace(moment, 0, key_width);
  report->rope_key_energy_kept = keys > 0 ? rope / keys : 1;
  return absl::OkStatus();
}

absl::StatusOr<LatentMoments> TransMlaRecipe::CalibrateRotated(TokenSequences calibration) {
  RETURN_IF_ERROR(progress_.Enter(ConversionStage::kCompress, source_.spec().num_layers));
  ASSIGN_OR_RETURN(
      LoadedModel model,
      LoadPartialRope(plans_, CalibrationLimits(static_cast<int>(calibration[0].size()))));
  // Calibration is nearly all of this stage; the layers' decompositions come after it.
  return CalibrateLatents(
      *model.decoder, *model.backend, calibration, options_.q_lora_rank > 0,
      [&](int done, int total) { return progress_.Advance(9 * done, 10 * total); });
}

absl::Status TransMlaRecipe::Compress(const LatentMoments& moments, ConversionReport* report) {
  const int layers = source_.spec().num_layers;
  report->layers.resize(layers);
  bases_.resize(layers);
  for (int layer = 0; layer < layers; ++layer) {
    RETURN_IF_ERROR(AnnotateLayer(CompressLayer(moments, layer, &report->layers[layer]), layer));
    RETURN_IF_ERROR(progress_.Advance(9 * layers + layer + 1, 10 * layers, layer + 1));
  }
  return absl::OkStatus();
}

absl::StatusOr<LatentWeights> TransMlaRecipe::Layer(int layer) const {
  ASSIGN_OR_RETURN(const GqaWeights weights, source_.Attention(layer));
  return BuildLatentLayer(weights, plans_[layer]);
}

std::vector<std::vector<float>> TransMlaRecipe::InverseFrequencies() const {
  std::vector<std::vector<float>> frequencies;
  for (const LatentLayerPlan& plan : plans_) frequencies.push_back(plan.inv_freq);
  return frequencies;
}

}  // namespace transmla
