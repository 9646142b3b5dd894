#include "engine/convert/transmla_recipe.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "engine/base/status.h"
#include "engine/convert/evaluate.h"
#include "engine/convert/fitted_layer.h"
#include "engine/convert/freq_fold.h"
#include "engine/convert/latent_checkpoint.h"
#include "engine/convert/latent_model.h"
#include "engine/convert/moments.h"
#include "engine/convert/plan.h"
#include "engine/convert/rotate.h"
#include "engine/convert/work_record.h"
#include "engine/model/layer_decoder.h"

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

absl::StatusOr<int> TransMlaRecipe::Calibrate(WorkFolder& work, const LayeredModel& source,
                                              TokenSequences calibration) {
  work_ = &work;
  backend_ = source.backend;
  const int layers = source_.spec().num_layers;
  keys_.emplace(work, "keys", source, calibration, [this, layers](int layer, int done, int total) {
    return progress_.Advance(layer * total + done, layers * total, layer);
  });
  KeyMoments observer(*source.backend, source_.head_order());
  return keys_->Observe(observer);
}

absl::Status TransMlaRecipe::Fit(TokenSequences calibration, TokenSequences evaluation,
                                 ConversionReport* report) {
  RETURN_IF_ERROR(Rotate(calibration, evaluation, report));
  return CompressAll(calibration, report);
}

RotationShape TransMlaRecipe::ShapeOf(int freqfold) const {
  return {.num_key_value_heads = source_.spec().gqa.num_key_value_heads,
          .head_dim = source_.spec().gqa.head_dim,
          .qk_rope_head_dim = options_.qk_rope_head_dim,
          .freqfold = freqfold};
}

absl::StatusOr<LatentLayerPlan> TransMlaRecipe::PartialRopePlan(int layer, int freqfold) const {
  ASSIGN_OR_RETURN(const std::string record, keys_->Record(layer));
  RecordReader reader(record);
  const SecondMoment keys = SecondMoment::Load(reader);
  RETURN_IF_ERROR(reader.Finish());
  const ModelSpec& spec = source_.spec();
  const RotationShape shape = ShapeOf(freqfold);
  // Orthogonal, so that queries turn as keys do.
  absl::StatusOr<Matrix> rotation = RopeRotation(keys.sum(), shape);
  if (!rotation.ok()) return AnnotateLayer(rotation.status(), layer);
  LatentLayerPlan plan;
  plan.source = spec.gqa;
  plan.query_scale = QueryScale(spec, options_.qk_rope_head_dim);
  plan.nope_scale = double{spec.rope_magnitude} * spec.rope_magnitude;
  plan.qk_rope_head_dim = options_.qk_rope_head_dim;
  plan.query_map = *rotation;
  plan.key_map = *std::move(rotation);
  plan.inv_freq = KeptFrequencies(spec.inv_freq[layer], shape);
  return plan;
}

absl::StatusOr<LayeredModel> TransMlaRecipe::PartialRopeModel(int freqfold, ModelSpec* spec) const {
  const ModelSpec& from = source_.spec();
  MlaSpec mla = ResolveShape(options_, from);
  mla.q_lora_rank = 0;
  // Nothing is compressed yet.
  mla.kv_lora_rank =
      2 * from.gqa.num_key_value_heads * from.gqa.head_dim - options_.qk_rope_head_dim;
  return LatentModel({.source = &source_,
                      .config = LatentConfig(source_, mla, ResolveBiases(options_, from),
                                             ResolveAttentionScale(options_, from)),
                      .inv_freq = [this, freqfold] { return Frequencies(freqfold); },
                      .layer = [this, freqfold](int layer) -> absl::StatusOr<LatentWeights> {
                        ASSIGN_OR_RETURN(const LatentLayerPlan plan,
                                         PartialRopePlan(layer, freqfold));
                        ASSIGN_OR_RETURN(const GqaWeights weights, source_.Attention(layer));
                        return BuildLatentLayer(weights, plan);
                      }},
                     *backend_, spec);
}

absl::StatusOr<double> TransMlaRecipe::PartialRopePerplexity(int freqfold,
                                                             TokenSequences sequences) const {
  ModelSpec spec;
  ASSIGN_OR_RETURN(const LayeredModel model, PartialRopeModel(freqfold, &spec));
  const auto go_on = [this](int, int, int) { return progress_.Advance(0, 1); };
  ASSIGN_OR_RETURN(const std::shared_ptr<const MappedFile> streams,
                   LayerPass(*work_, "partial-rope", model, sequences, go_on).Run());
  ASSIGN_OR_RETURN(const std::unique_ptr<EndsDecoder> ends,
                   EndsDecoder::Load(model.ends, spec, backend_,
                                     EvaluationLimits(static_cast<int>(sequences[0].size()))));
  absl::Status cancelled;
  const absl::StatusOr<PerplexityResult> result = StreamsPerplexity(
      {ends.get(), &spec, streams.get()}, sequences, backend_->info().host_threads, [&](int, int) {
        cancelled = progress_.Advance(0, 1);
        return cancelled.ok();
      });
  RETURN_IF_ERROR(cancelled);
  if (!result.ok()) return result.status();
  return result->perplexity;
}

absl::StatusOr<int> TransMlaRecipe::SearchFreqFold(TokenSequences calibration) const {
  const GqaSpec& gqa = source_.spec().gqa;
  const TokenSequences text = calibration.subspan(0, kSearchSequences);
  int tried = 0;
  const auto measure = [&](int freqfold) -> absl::StatusOr<double> {
    ASSIGN_OR_RETURN(const double perplexity, PartialRopePerplexity(freqfold, text));
    RETURN_IF_ERROR(progress_.Advance(++tried, kSearchSteps + 1));
    return perplexity;
  };
  ASSIGN_OR_RETURN(
      const FreqFoldChoice choice,
      ChooseFreqFold(gqa.head_dim / options_.qk_rope_head_dim, gqa.head_dim / 2, measure));
  return choice.freqfold;
}

absl::Status TransMlaRecipe::Rotate(TokenSequences calibration, TokenSequences evaluation,
                                    ConversionReport* report) {
  RETURN_IF_ERROR(progress_.Enter(ConversionStage::kRotate, source_.spec().num_layers));
  freqfold_ = options_.freqfold;
  if (freqfold_ == 0) {
    ASSIGN_OR_RETURN(freqfold_, SearchFreqFold(calibration));
  }
  report->freqfold = freqfold_;
  if (!evaluation.empty()) {
    ASSIGN_OR_RETURN(report->perplexity_partial_rope, PartialRopePerplexity(freqfold_, evaluation));
  }
  return progress_.Advance(1, 1, source_.spec().num_layers);
}

absl::StatusOr<TransMlaRecipe::CompressedLayer> TransMlaRecipe::Compress(int layer) const {
  ASSIGN_OR_RETURN(const std::string record, latents_->Record(layer));
  ASSIGN_OR_RETURN(const LatentMoments moments, ParseLatentMoments(record));
  CompressedLayer compressed;
  LatentLayerPlan& plan = compressed.plan;
  LatentBasis& basis = compressed.basis;
  ASSIGN_OR_RETURN(plan, PartialRopePlan(layer, freqfold_));
  const Matrix& moment = moments.kv.sum();
  const int64_t width = moment.rows() - options_.qk_rope_head_dim;
  const MlaSpec shape = ResolveShape(options_, source_.spec());
  const int key_width = static_cast<int>(plan.key_map.rows()) - options_.qk_rope_head_dim;
  ASSIGN_OR_RETURN(basis, CompressKeysAndValues(LeadingBlock(moment, width),
                                                {.key_width = key_width,
                                                 .kv_lora_rank = shape.kv_lora_rank,
                                                 .balance_kv_ratio = options_.balance_kv_ratio}));
  plan.latent = MakeLatentMap(basis, key_width);
  if (options_.q_lora_rank > 0) {
    ASSIGN_OR_RETURN(plan.query_basis, PrincipalComponents(moments.query.sum(), shape.q_lora_rank));
  }
  LayerReport& report = compressed.report;
  report.layer = layer;
  report.key_error = basis.key_error;
  report.value_error = basis.value_error;
  const double rope = Trace(moment, width, moment.rows());
  const double keys = rope + Trace(moment, 0, key_width);
  report.rope_key_energy_kept = keys > 0 ? rope / keys : 1;
  return compressed;
}

std::string TransMlaRecipe::RecordName(int layer) const {
  return absl::StrFormat("compressed-%d-%d-%03d.record", options_.qk_rope_head_dim,
                         options_.kv_lora_rank, layer);
}

absl::Status TransMlaRecipe::CompressAll(TokenSequences calibration, ConversionReport* report) {
  const int layers = source_.spec().num_layers;
  RETURN_IF_ERROR(progress_.Enter(ConversionStage::kCompress, layers));
  ModelSpec spec;
  ASSIGN_OR_RETURN(const LayeredModel rotated, PartialRopeModel(freqfold_, &spec));
  // Calibration is nearly all of this stage; the layers' decompositions come after it. Moments
  // depend on the rotation, not on the rank.
  latents_.emplace(*work_, absl::StrFormat("rotated-%d-%d", options_.qk_rope_head_dim, freqfold_),
                   rotated, calibration, [this, layers](int layer, int done, int total) {
                     return progress_.Advance(9 * (layer * total + done), 10 * layers * total);
                   });
  LatentObserver observer(*backend_, spec.mla, options_.q_lora_rank > 0);
  RETURN_IF_ERROR(latents_->Observe(observer).status());
  for (int layer = 0; layer < layers; ++layer) {
    absl::StatusOr<CompressedLayer> compressed = Compress(layer);
    if (!compressed.ok()) return AnnotateLayer(compressed.status(), layer);
    ASSIGN_OR_RETURN(const GqaWeights weights, source_.Attention(layer));
    report->layers.push_back(compressed->report);
    RETURN_IF_ERROR(work_->Write(
        RecordName(layer),
        SaveFittedLayer({BuildLatentLayer(weights, compressed->plan), compressed->report})));
    RETURN_IF_ERROR(progress_.Advance(9 * layers + layer + 1, 10 * layers, layer + 1));
  }
  return absl::OkStatus();
}

absl::StatusOr<LatentWeights> TransMlaRecipe::Layer(int layer) const {
  ASSIGN_OR_RETURN(const std::string record, work_->Read(RecordName(layer)));
  ASSIGN_OR_RETURN(FittedLayer fitted, ParseFittedLayer(record));
  return std::move(fitted.weights);
}

std::vector<std::vector<float>> TransMlaRecipe::Frequencies(int freqfold) const {
  const RotationShape shape = ShapeOf(freqfold);
  std::vector<std::vector<float>> frequencies;
  for (const std::vector<float>& source : source_.spec().inv_freq)
    frequencies.push_back(KeptFrequencies(source, shape));
  return frequencies;
}

}  // namespace transmla
