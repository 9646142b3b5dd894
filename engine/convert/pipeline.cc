#include "engine/convert/pipeline.h"

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <iterator>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "engine/base/check.h"
#include "engine/base/cpu_info.h"
#include "engine/base/status.h"
#include "engine/convert/best_recipe.h"
#include "engine/convert/calibrate.h"
#include "engine/convert/emit.h"
#include "engine/convert/equivalent.h"
#include "engine/convert/evaluate.h"
#include "engine/convert/fitted_recipe.h"
#include "engine/convert/gguf_emit.h"
#include "engine/convert/job.h"
#include "engine/convert/latent_model.h"
#include "engine/convert/layer_pass.h"
#include "engine/convert/loaded_model.h"
#include "engine/convert/plan.h"
#include "engine/convert/progress.h"
#include "engine/convert/ratio_trial.h"
#include "engine/convert/recover/recovery.h"
#include "engine/convert/report_page.h"
#include "engine/convert/source_weights.h"
#include "engine/convert/staged_folder.h"
#include "engine/convert/stock_model.h"
#include "engine/convert/text.h"
#include "engine/convert/transmla_recipe.h"
#include "engine/convert/work_folder.h"
#include "engine/convert/work_record.h"
#include "engine/format/checkpoint.h"
#include "engine/model/decoder.h"
#include "engine/model/layer_decoder.h"
#include "engine/tokenizer/load.h"

namespace transmla {
namespace {

constexpr absl::string_view kReportFile = "transmla_report.json";
constexpr absl::string_view kReportPage = "transmla_report.html";

// One conversion, stage by stage.
class Conversion {
 public:
  Conversion(const ConvertOptions& options, const ConversionContext& context)
      : options_(options), asked_(options), context_(context), progress_(context, options) {}

  absl::StatusOr<ConversionReport> Run();

 private:
  bool lossless() const { return options_.recipe == Recipe::kEquivalent; }
  bool evaluates() const { return options_.evaluation_sequences > 0; }
  // Whether the source model itself must run: to make text, to calibrate, or to be compared with.
  bool runs_source() const { return !lossless() || evaluates(); }

  absl::StatusOr<ConversionReport> RunStages();
  absl::Status Load();
  std::unique_ptr<FittedRecipe> MakeRecipe(const ConvertOptions& options,
                                           ProgressTracker& progress) const;
  absl::Status GetText();
  absl::Status ReadTexts();
  absl::Status OpenWork();
  absl::Status SampleTexts();
  absl::Status Calibrate();
  // Perplexity by cache ratio: finds the result's, if that is asked for, and compares others.
  absl::Status ChooseSize();
  absl::StatusOr<RatioReport> TryRatio(double ratio, TokenSequences text, const MappedFile& streams,
                                       ProgressTracker& progress);
  // The source's residual streams over `text`.
  absl::StatusOr<std::shared_ptr<const MappedFile>> RunSource(const std::string& name,
                                                              TokenSequences text,
                                                              const LayerPass::Progress& progress);
  absl::StatusOr<QualityReport> CompareWith(const LayeredModel& result, TokenSequences text,
                                            const MappedFile& streams,
                                            const LayerPass::Progress& run_progress,
                                            const EvaluationProgress& progress);
  absl::Status Fit();
  absl::Status Recover();
  absl::Status Write();
  EmitSource LosslessSource() const;
  absl::Status Evaluate();
  // Whether all of its tensors are there.
  absl::Status CheckLoads(const LayeredModel& model);
  absl::Status Publish();
  SequenceProgress SequenceReporter(int offset, int total);
  // Sequences of text that the conversion learns from, in all.
  int SequencesToLearnFrom() const {
    return lossless() ? 0 : std::max(options_.nsamples, options_.RecoverySequences());
  }
  // Sequences held back to choose on, and to report on, of text that calibration is taken from.
  SequenceCount HeldBack() const {
    return {
        ChoiceSequences() + (options_.evaluation_text.empty() ? options_.evaluation_sequences : 0),
        options_.evaluation_length};
  }
  int ChoiceSequences() const {
    constexpr int kFewest = 8;
    return options_.max_perplexity_increase > 0 ? std::max(kFewest, options_.evaluation_sequences)
                                                : 0;
  }
  absl::Status SplitHeldBack(std::vector<std::vector<int32_t>> held_back);
  LayeredModel Source() const {
    return WholeModel(weights_->shared_checkpoint(), source_spec_, *backend_);
  }
  TokenSequences CalibrationText() const {
    return absl::MakeConstSpan(text_.calibration)
        .first(std::min<size_t>(options_.nsamples, text_.calibration.size()));
  }

  ConvertOptions options_;  // resolved, once the source is open
  ConvertOptions asked_;    // as they came
  const ConversionContext& context_;
  ProgressTracker progress_;

  ConversionReport report_;
  std::unique_ptr<StagedFolder> folder_;
  std::unique_ptr<SourceWeights> weights_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  ModelSpec source_spec_;             // as the source runs
  std::unique_ptr<Backend> backend_;  // that it runs on, piece by piece
  std::unique_ptr<WorkFolder> work_;
  TextSplit text_;
  std::shared_ptr<const MappedFile>
      source_streams_;                    // over the evaluation text, once they are known
  std::unique_ptr<FittedRecipe> recipe_;  // null for the lossless recipe
  std::unique_ptr<Recovery> recovery_;    // null unless asked for
};

// Whether `source` can become `format`.
absl::Status CheckFormat(OutputFormat format, const CheckpointReader& source) {
  return IsGguf(format) ? CheckGgufSource(source) : absl::OkStatus();
}

absl::StatusOr<ConversionReport> Conversion::Run() {
  absl::StatusOr<ConversionReport> report = RunStages();
  if (absl::IsCancelled(report.status()) && work_ != nullptr && context_.keeps_work &&
      context_.keeps_work())
    work_->Keep();
  return report;
}

absl::StatusOr<ConversionReport> Conversion::RunStages() {
  RETURN_IF_ERROR(Load());
  RETURN_IF_ERROR(GetText());
  if (!lossless()) {
    RETURN_IF_ERROR(Calibrate());
    if (options_.TriedRatios() > 0) RETURN_IF_ERROR(ChooseSize());
    RETURN_IF_ERROR(Fit());
  }
  if (options_.recovery_tokens > 0) RETURN_IF_ERROR(Recover());
  RETURN_IF_ERROR(Write());
  RETURN_IF_ERROR(Evaluate());
  RETURN_IF_ERROR(Publish());
  return report_;
}

absl::Status Conversion::Load() {
  RETURN_IF_ERROR(progress_.Enter(ConversionStage::kLoad));
  RETURN_IF_ERROR(CheckDestination(*context_.files, options_.destination, options_.overwrite));
  ASSIGN_OR_RETURN(std::shared_ptr<const CheckpointReader> checkpoint,
                   OpenCheckpoint(options_.source));
  ASSIGN_OR_RETURN(const ModelSpec spec, ReadModelSpec(*checkpoint));
  RETURN_IF_ERROR(CheckFormat(options_.format, *checkpoint));
  ASSIGN_OR_RETURN(options_, ResolveOptions(options_, spec));
  report_ = PlannedReport(options_, spec);
  ASSIGN_OR_RETURN(SourceWeights weights, SourceWeights::Create(checkpoint, spec));
  weights_ = std::make_unique<SourceWeights>(std::move(weights));
  recipe_ = MakeRecipe(options_, progress_);
  source_spec_ = spec;
  ASSIGN_OR_RETURN(const LoadedTokenizer loaded, LoadTokenizer(*checkpoint));
  tokenizer_ = loaded.tokenizer;
  if (runs_source()) {
    ASSIGN_OR_RETURN(backend_, context_.make_backend());
    RETURN_IF_ERROR(CheckLoads(Source()));
  }
  // Made last: an error before this point has touched nothing.
  ASSIGN_OR_RETURN(folder_,
                   StagedFolder::Create(*context_.files, options_.destination, options_.overwrite));
  return progress_.Advance(1, 1);
}

std::unique_ptr<FittedRecipe> Conversion::MakeRecipe(const ConvertOptions& options,
                                                     ProgressTracker& progress) const {
  switch (options.recipe) {
    case Recipe::kEquivalent:
      return nullptr;
    case Recipe::kTransMla:
      return std::make_unique<TransMlaRecipe>(options, *weights_, progress);
    case Recipe::kBest:
      return std::make_unique<BestRecipe>(options, *weights_, progress);
  }
  return nullptr;
}

SequenceProgress Conversion::SequenceReporter(int offset, int total) {
  return [this, offset, total](int done, int) { return progress_.Advance(offset + done, total); };
}

absl::Status Conversion::GetText() {
  RETURN_IF_ERROR(progress_.Enter(ConversionStage::kText));
  if (runs_source() && !options_.text_files.empty()) RETURN_IF_ERROR(ReadTexts());
  if (!options_.evaluation_text.empty() && evaluates()) {
    const SequenceCount wanted{options_.evaluation_sequences, options_.evaluation_length};
    ASSIGN_OR_RETURN(
        const std::vector<int32_t> ids,
        ReadTextIds(*context_.files, {options_.evaluation_text}, *tokenizer_, wanted.tokens()));
    absl::StatusOr<std::vector<std::vector<int32_t>>> cut =
        CutSequences(ids, wanted.sequences, wanted.length);
    if (!cut.ok()) return Annotate(cut.status(), options_.evaluation_text);
    text_.evaluation = *std::move(cut);
  }
  RETURN_IF_ERROR(OpenWork());
  if (runs_source() && options_.text_files.empty()) RETURN_IF_ERROR(SampleTexts());
  for (const std::vector<int32_t>& sequence : CalibrationText())
    report_.calibration_tokens += static_cast<int64_t>(sequence.size());
  return progress_.Advance(1, 1);
}

absl::Status Conversion::ReadTexts() {
  report_.calibration_source = "files";
  const SequenceCount calibration{SequencesToLearnFrom(), options_.seqlen};
  // Calibration is spread over more text than it takes.
  constexpr int64_t kSpread = 16;
  ASSIGN_OR_RETURN(const std::vector<int32_t> ids,
                   ReadTextIds(*context_.files, options_.text_files, *tokenizer_,
                               kSpread * calibration.tokens() + HeldBack().tokens()));
  if (lossless()) {
    if (HeldBack().sequences == 0) return absl::OkStatus();
    ASSIGN_OR_RETURN(text_.evaluation, CutSequences(ids, HeldBack().sequences, HeldBack().length));
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(TextSplit split, SplitText(ids, calibration, HeldBack()));
  text_.calibration = std::move(split.calibration);
  return SplitHeldBack(std::move(split.evaluation));
}

absl::Status Conversion::SplitHeldBack(std::vector<std::vector<int32_t>> held_back) {
  const bool both = HeldBack().sequences > ChoiceSequences();
  const size_t choice =
      std::min<size_t>(ChoiceSequences(), both ? held_back.size() / 2 : held_back.size());
  if (options_.max_perplexity_increase > 0 && choice == 0)
    return absl::InvalidArgumentError(
        "the calibration text is too short to hold text back that max_perplexity_increase chooses "
        "on; give more text, or lower nsamples");
  const auto rest = std::next(held_back.begin(), static_cast<std::ptrdiff_t>(choice));
  text_.choice.assign(held_back.begin(), rest);
  if (options_.evaluation_text.empty()) text_.evaluation.assign(rest, held_back.end());
  return absl::OkStatus();
}

absl::Status Conversion::OpenWork() {
  ASSIGN_OR_RETURN(work_, WorkFolder::Open(*context_.files, options_.destination,
                                           JobOf(asked_, weights_->checkpoint(), text_)));
  return absl::OkStatus();
}

absl::Status Conversion::SampleTexts() {
  constexpr absl::string_view kRecord = "text.record";
  report_.calibration_source = std::string(kSampledText);
  if (const absl::StatusOr<std::string> done = work_->Read(kRecord); done.ok()) {
    RecordReader record(*done);
    std::vector<std::vector<int32_t>> held_back;
    for (std::vector<std::vector<int32_t>>* part : {&text_.calibration, &held_back}) {
      const int64_t sequences = record.Number();
      for (int64_t i = 0; i < sequences; ++i) part->push_back(record.Values<int32_t>());
    }
    RETURN_IF_ERROR(record.Finish());
    return SplitHeldBack(std::move(held_back));
  }
  const SequenceCount calibration{SequencesToLearnFrom(), options_.seqlen};
  const int total = calibration.sequences + HeldBack().sequences;
  // Every token takes all layers, so here the source is needed whole.
  StepLimits limits = SamplingLimits(calibration.length);
  if (HeldBack().sequences > 0) limits = LimitsForBoth(limits, SamplingLimits(HeldBack().length));
  ASSIGN_OR_RETURN(LoadedModel source, LoadModel(context_, weights_->shared_checkpoint(), limits));
  ASSIGN_OR_RETURN(text_.calibration, SampleSequences(*source.decoder, *source.backend, calibration,
                                                      options_.seed, SequenceReporter(0, total)));
  // Another seed: evaluation on calibration's own text would flatter the result.
  ASSIGN_OR_RETURN(std::vector<std::vector<int32_t>> held_back,
                   SampleSequences(*source.decoder, *source.backend, HeldBack(), ~options_.seed,
                                   SequenceReporter(calibration.sequences, total)));
  weights_->checkpoint().ReleasePages();
  RecordWriter record;
  for (const auto* part : {&text_.calibration, &held_back}) {
    record.Put(static_cast<int64_t>(part->size()));
    for (const std::vector<int32_t>& ids : *part) record.Put(ids);
  }
  RETURN_IF_ERROR(work_->Write(kRecord, record.Take()));
  return SplitHeldBack(std::move(held_back));
}

absl::Status Conversion::Calibrate() {
  RETURN_IF_ERROR(progress_.Enter(ConversionStage::kCalibrate, weights_->spec().num_layers));
  ASSIGN_OR_RETURN(report_.resumed_layers, recipe_->Calibrate(*work_, Source(), CalibrationText()));
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const MappedFile>> Conversion::RunSource(
    const std::string& name, TokenSequences text, const LayerPass::Progress& progress) {
  return LayerPass(*work_, name, Source(), text, progress).Run();
}

absl::StatusOr<QualityReport> Conversion::CompareWith(const LayeredModel& result,
                                                      TokenSequences text,
                                                      const MappedFile& streams,
                                                      const LayerPass::Progress& run_progress,
                                                      const EvaluationProgress& progress) {
  ASSIGN_OR_RETURN(const std::shared_ptr<const MappedFile> behind,
                   LayerPass(*work_, "result", result, text, run_progress).Run());
  const StepLimits limits = EvaluationLimits(static_cast<int>(text[0].size()));
  ASSIGN_OR_RETURN(const std::unique_ptr<EndsDecoder> before,
                   EndsDecoder::Load(Source().ends, source_spec_, backend_.get(), limits));
  ASSIGN_OR_RETURN(const std::unique_ptr<EndsDecoder> after,
                   EndsDecoder::Load(result.ends, *result.spec, result.backend, limits));
  return CompareStreams({before.get(), &source_spec_, &streams},
                        {after.get(), result.spec, behind.get()}, text,
                        backend_->info().host_threads, progress);
}

absl::StatusOr<RatioReport> Conversion::TryRatio(double ratio, TokenSequences text,
                                                 const MappedFile& streams,
                                                 ProgressTracker& progress) {
  ConvertOptions tried = asked_;
  tried.max_perplexity_increase = 0;
  tried.cache_ratio = ratio;
  tried.qk_rope_head_dim = 0;
  tried.kv_lora_rank = 0;
  ASSIGN_OR_RETURN(tried, ResolveOptions(tried, weights_->spec()));
  const std::unique_ptr<FittedRecipe> recipe = MakeRecipe(tried, progress);
  RETURN_IF_ERROR(recipe->Calibrate(*work_, Source(), CalibrationText()).status());
  ConversionReport report = PlannedReport(tried, weights_->spec());
  RETURN_IF_ERROR(recipe->Fit(CalibrationText(), {}, &report));
  ASSIGN_OR_RETURN(const std::unique_ptr<Backend> backend, context_.make_backend());
  ModelSpec spec;
  ASSIGN_OR_RETURN(const LayeredModel result,
                   FittedModel(*weights_, *recipe, tried, *backend, &spec));
  absl::Status cancelled;
  absl::StatusOr<QualityReport> quality = CompareWith(
      result, text, streams, [&](int, int, int) { return progress.Advance(0, 1); },
      [&](int, int) {
        cancelled = progress.Advance(0, 1);
        return cancelled.ok();
      });
  RETURN_IF_ERROR(cancelled);
  if (!quality.ok()) return quality.status();
  return RatioReport{.cache_ratio = ratio,
                     .qk_rope_head_dim = report.qk_rope_head_dim,
                     .kv_lora_rank = report.kv_lora_rank,
                     .cache_bytes_per_token = report.cache_bytes_per_token_after,
                     .quality = *std::move(quality)};
}

absl::Status Conversion::ChooseSize() {
  RETURN_IF_ERROR(progress_.Enter(ConversionStage::kChoose));
  // The stages of a trial are none of the conversion's.
  ConversionContext quiet = context_;
  quiet.on_progress = nullptr;
  ProgressTracker trial_progress(quiet, options_);
  const auto go_on = [&](int, int, int) { return trial_progress.Advance(0, 1); };
  int tried = 0;
  const auto trial = [&](TokenSequences text, const MappedFile& streams) {
    return [&, text](double ratio) -> absl::StatusOr<RatioReport> {
      ASSIGN_OR_RETURN(RatioReport report, TryRatio(ratio, text, streams, trial_progress));
      RETURN_IF_ERROR(progress_.Advance(++tried, options_.TriedRatios()));
      return report;
    };
  };
  std::vector<RatioReport> compared, attempts;
  if (!options_.compare_ratios.empty()) {
    ASSIGN_OR_RETURN(source_streams_, RunSource("source", text_.evaluation, go_on));
    for (const double ratio : options_.compare_ratios) {
      ASSIGN_OR_RETURN(compared.emplace_back(), trial(text_.evaluation, *source_streams_)(ratio));
    }
  }
  if (options_.max_perplexity_increase > 0) {
    ASSIGN_OR_RETURN(const std::shared_ptr<const MappedFile> streams,
                     RunSource("choice", text_.choice, go_on));
    ASSIGN_OR_RETURN(asked_.cache_ratio, ChooseRatio(options_.max_perplexity_increase,
                                                     trial(text_.choice, *streams), &attempts));
    asked_.max_perplexity_increase = 0;
    ASSIGN_OR_RETURN(options_, ResolveOptions(asked_, weights_->spec()));
    const ConversionReport before = std::move(report_);
    report_ = PlannedReport(options_, weights_->spec());
    report_.calibration_source = before.calibration_source;
    report_.calibration_tokens = before.calibration_tokens;
    report_.resumed_layers = before.resumed_layers;
    recipe_ = MakeRecipe(options_, progress_);
    RETURN_IF_ERROR(recipe_->Calibrate(*work_, Source(), CalibrationText()).status());
  }
  report_.compared = std::move(compared);
  report_.tried = std::move(attempts);
  return absl::OkStatus();
}

absl::Status Conversion::Fit() {
  return recipe_->Fit(CalibrationText(), text_.evaluation, &report_);
}

absl::Status Conversion::Recover() {
  const ModelSpec& spec = weights_->spec();
  RETURN_IF_ERROR(progress_.Enter(ConversionStage::kRecover));
  ASSIGN_OR_RETURN(recovery_, Recovery::Create(*weights_, ResolveShape(options_, spec),
                                               ResolveAttentionScale(options_, spec)));
  for (int layer = 0; layer < spec.num_layers; ++layer) {
    ASSIGN_OR_RETURN(LatentWeights latent, recipe_->Layer(layer));
    if (latent.o.empty()) {
      ASSIGN_OR_RETURN(latent.o, weights_->Output(layer));
    }
    recovery_->SetLayer(layer, latent);
  }
  const TokenSequences text =
      absl::MakeConstSpan(text_.calibration)
          .first(std::min<size_t>(options_.RecoverySequences(), text_.calibration.size()));
  ASSIGN_OR_RETURN(LoadedModel source, LoadModel(context_, weights_->shared_checkpoint(),
                                                 CalibrationLimits(options_.seqlen)));
  ASSIGN_OR_RETURN(const RecoveryLoss loss,
                   recovery_->Train(*source.decoder, *source.backend, text,
                                    {.learning_rate = options_.recovery_learning_rate,
                                     .eigenbases = false,
                                     .work = work_.get()},
                                    SequenceReporter(0, static_cast<int>(text.size()))));
  report_.recovery = {.tokens = loss.tokens,
                      .resumed_tokens = loss.resumed_tokens,
                      .kl_first = loss.first,
                      .kl_last = loss.last};
  return absl::OkStatus();
}

EmitSource Conversion::LosslessSource() const {
  const ModelSpec& spec = weights_->spec();
  EmitSource source;
  for (const std::vector<float>& inv_freq : spec.inv_freq) {
    source.inv_freq.emplace_back();
    for (int head = 0; head < spec.gqa.num_key_value_heads; ++head)
      source.inv_freq.back().insert(source.inv_freq.back().end(), inv_freq.begin(), inv_freq.end());
  }
  source.layer = [this](int layer) -> absl::StatusOr<LatentWeights> {
    ASSIGN_OR_RETURN(const GqaWeights weights, weights_->Attention(layer));
    return BuildEquivalentLayer(weights, weights_->spec().gqa, weights_->spec().inv_freq[layer]);
  };
  return source;
}

absl::Status Conversion::Write() {
  const int layers = weights_->spec().num_layers;
  RETURN_IF_ERROR(progress_.Enter(ConversionStage::kWrite, layers));
  EmitSource source;
  if (lossless()) {
    source = LosslessSource();
  } else {
    source.inv_freq = recipe_->InverseFrequencies();
    source.layer = [this](int layer) {
      return recovery_ ? recovery_->Layer(layer) : recipe_->Layer(layer);
    };
  }
  source.progress = [this, layers](int written) {
    return progress_.Advance(written, layers, written);
  };
  EmitOptions emit{
      .mla = ResolveShape(options_, weights_->spec()),
      .biases = ResolveBiases(options_, weights_->spec()),
      .dtype = ResolveDType(options_),
      .format = options_.format,
      .max_shard_bytes = options_.max_shard_bytes,
      .own_output = recovery_ != nullptr || (recipe_ != nullptr && recipe_->FitsOutput())};
  emit.config = LatentConfig(*weights_, emit.mla, emit.biases,
                             ResolveAttentionScale(options_, weights_->spec()));
  if (options_.format == OutputFormat::kDeepseekV3) UseStockLayout(*weights_, source, emit);
  const auto write = IsGguf(options_.format) ? WriteLatentGguf : WriteLatentModel;
  RETURN_IF_ERROR(write(*context_.files, folder_->path(), *weights_, source, emit));
  ASSIGN_OR_RETURN(const std::vector<std::string> names, context_.files->List(folder_->path()));
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(const std::shared_ptr<const MappedFile> file,
                     context_.files->Map(JoinPath(folder_->path(), name)));
    report_.bytes_written += file->size();
  }
  return absl::OkStatus();
}

absl::Status Conversion::CheckLoads(const LayeredModel& model) {
  const StepLimits limits = EvaluationLimits(1);
  RETURN_IF_ERROR(EndsDecoder::Load(model.ends, *model.spec, model.backend, limits).status());
  for (int layer = 0; layer < model.spec->num_layers; ++layer) {
    RETURN_IF_ERROR(
        LayerDecoder::Load(model.ends, *model.spec, layer, model.backend, limits).status());
    model.ends->ReleasePages();
  }
  return absl::OkStatus();
}

absl::Status Conversion::Evaluate() {
  RETURN_IF_ERROR(progress_.Enter(ConversionStage::kEvaluate));
  // What was written is opened and loaded in any case: a result that does not load must not be
  // published.
  ASSIGN_OR_RETURN(const std::shared_ptr<const CheckpointReader> written,
                   OpenCheckpoint(folder_->path()));
  ASSIGN_OR_RETURN(const ModelSpec spec, ReadModelSpec(*written));
  ASSIGN_OR_RETURN(const std::unique_ptr<Backend> backend, context_.make_backend());
  const LayeredModel result = WholeModel(written, spec, *backend);
  if (text_.evaluation.empty()) {
    RETURN_IF_ERROR(CheckLoads(result));
    return progress_.Advance(1, 1);
  }
  // Two runs through all layers, and then the logits, which take about a third of the time.
  const int layers = spec.num_layers;
  const auto advance = [&](int share_of_three, double done) {
    return progress_.Advance(static_cast<int>(1000 * (share_of_three + done)), 3000);
  };
  const auto run = [&](int share_of_three) {
    return [&, share_of_three](int layer, int done, int total) {
      return advance(share_of_three, (layer + static_cast<double>(done) / total) / layers);
    };
  };
  if (source_streams_ == nullptr) {
    ASSIGN_OR_RETURN(source_streams_, RunSource("source", text_.evaluation, run(0)));
  }
  absl::Status cancelled;
  absl::StatusOr<QualityReport> quality =
      CompareWith(result, text_.evaluation, *source_streams_, run(1), [&](int done, int total) {
        cancelled = advance(2, static_cast<double>(done) / total);
        return cancelled.ok();
      });
  RETURN_IF_ERROR(cancelled);
  if (!quality.ok()) return quality.status();
  report_.quality = *std::move(quality);
  return absl::OkStatus();
}

absl::Status Conversion::Publish() {
  report_.seconds = absl::ToDoubleSeconds(progress_.elapsed());
  report_.peak_memory_bytes = PeakResidentBytes();
  const std::string json = report_.ToJson();
  const std::string page = ReportPage(report_);
  report_.bytes_written += static_cast<int64_t>(json.size() + page.size());
  RETURN_IF_ERROR(WriteFileAtomically(*context_.files, JoinPath(folder_->path(), kReportFile),
                                      report_.ToJson()));
  RETURN_IF_ERROR(
      WriteFileAtomically(*context_.files, JoinPath(folder_->path(), kReportPage), page));
  return folder_->Commit();
}

// Whether `path` is `folder` or something below it, links resolved.
bool LiesIn(const std::string& path, const std::string& folder) {
  std::error_code error;
  const auto inner = std::filesystem::weakly_canonical(path, error);
  const auto outer = std::filesystem::weakly_canonical(folder, error);
  if (error) return false;
  const std::filesystem::path relative = inner.lexically_relative(outer);
  return !relative.empty() && *relative.begin() != "..";
}

absl::Status CheckPaths(const ConvertOptions& options) {
  if (options.source.empty())
    return absl::InvalidArgumentError("no source is given; name a GGUF file or a model folder");
  if (options.destination.empty())
    return absl::InvalidArgumentError("no destination folder is given");
  // The old contents of an overwritten folder are gone at the end.
  std::vector<std::string> inputs = {options.source};
  inputs.insert(inputs.end(), options.text_files.begin(), options.text_files.end());
  if (!options.evaluation_text.empty()) inputs.push_back(options.evaluation_text);
  for (const std::string& input : inputs) {
    if (LiesIn(input, options.destination))
      return absl::InvalidArgumentError(
          absl::StrCat("the destination ", options.destination, " holds ", input,
                       ", which the conversion reads; choose another destination"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ConversionReport> Convert(const ConvertOptions& options,
                                         const ConversionContext& context) {
  CHECK(context.make_backend != nullptr);
  RETURN_IF_ERROR(CheckPaths(options));
  RETURN_IF_ERROR(CheckTextIsNamed(options));
  return Conversion(options, context).Run();
}

absl::StatusOr<ConversionReport> PlanConversion(const ConvertOptions& options) {
  if (options.source.empty()) return CheckPaths(options);
  ASSIGN_OR_RETURN(const std::shared_ptr<const CheckpointReader> checkpoint,
                   OpenCheckpoint(options.source));
  ASSIGN_OR_RETURN(const ModelSpec spec, ReadModelSpec(*checkpoint));
  RETURN_IF_ERROR(CheckFormat(options.format, *checkpoint));
  ASSIGN_OR_RETURN(const ConvertOptions resolved, ResolveOptions(options, spec));
  RETURN_IF_ERROR(SourceWeights::Create(checkpoint, spec).status());
  return PlannedReport(resolved, spec);
}

}  // namespace transmla
