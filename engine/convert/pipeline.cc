#include "engine/convert/pipeline.h"

#include <algorithm>
#include <filesystem>
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
#include "engine/convert/loaded_model.h"
#include "engine/convert/plan.h"
#include "engine/convert/progress.h"
#include "engine/convert/recover/recovery.h"
#include "engine/convert/report_page.h"
#include "engine/convert/source_weights.h"
#include "engine/convert/staged_folder.h"
#include "engine/convert/stock_model.h"
#include "engine/convert/text.h"
#include "engine/convert/transmla_recipe.h"
#include "engine/format/checkpoint.h"
#include "engine/model/decoder.h"
#include "engine/tokenizer/load.h"

namespace transmla {
namespace {

constexpr absl::string_view kReportFile = "transmla_report.json";
constexpr absl::string_view kReportPage = "transmla_report.html";

// One conversion, stage by stage.
class Conversion {
 public:
  Conversion(const ConvertOptions& options, const ConversionContext& context)
      : options_(options), context_(context), progress_(context, options) {}

  absl::StatusOr<ConversionReport> Run();

 private:
  bool lossless() const { return options_.recipe == Recipe::kEquivalent; }
  bool evaluates() const { return options_.evaluation_sequences > 0; }
  // Whether the source model itself must run: to make text, to calibrate, or to be compared with.
  bool runs_source() const { return !lossless() || evaluates(); }

  absl::Status Load();
  std::unique_ptr<FittedRecipe> MakeRecipe();
  StepLimits SourceLimits() const;
  absl::Status GetText();
  absl::Status ReadTexts();
  absl::Status SampleTexts();
  absl::Status Fit();
  absl::Status Recover();
  absl::Status Write();
  EmitSource LosslessSource() const;
  absl::Status Evaluate();
  absl::Status Publish();
  SequenceProgress SequenceReporter(int offset, int total);
  // Sequences of text that the conversion learns from, in all.
  int SequencesToLearnFrom() const {
    return lossless() ? 0 : std::max(options_.nsamples, options_.RecoverySequences());
  }
  TokenSequences CalibrationText() const {
    return absl::MakeConstSpan(text_.calibration)
        .first(std::min<size_t>(options_.nsamples, text_.calibration.size()));
  }

  ConvertOptions options_;  // resolved, once the source is open
  const ConversionContext& context_;
  ProgressTracker progress_;

  ConversionReport report_;
  std::unique_ptr<StagedFolder> folder_;
  std::unique_ptr<SourceWeights> weights_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  LoadedModel source_;
  TextSplit text_;
  std::unique_ptr<FittedRecipe> recipe_;  // null for the lossless recipe
  std::unique_ptr<Recovery> recovery_;    // null unless asked for
  bool observed_ = false;                 // the recipe has seen the calibration text
};

// Whether `source` can become `format`.
absl::Status CheckFormat(OutputFormat format, const CheckpointReader& source,
                         const ModelSpec& spec) {
  return IsGguf(format) ? CheckGgufSource(source, spec) : absl::OkStatus();
}

absl::StatusOr<ConversionReport> Conversion::Run() {
  RETURN_IF_ERROR(Load());
  RETURN_IF_ERROR(GetText());
  if (!lossless()) RETURN_IF_ERROR(Fit());
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
  RETURN_IF_ERROR(CheckFormat(options_.format, *checkpoint, spec));
  ASSIGN_OR_RETURN(options_, ResolveOptions(options_, spec));
  report_ = PlannedReport(options_, spec);
  ASSIGN_OR_RETURN(SourceWeights weights, SourceWeights::Create(checkpoint, spec));
  weights_ = std::make_unique<SourceWeights>(std::move(weights));
  recipe_ = MakeRecipe();
  ASSIGN_OR_RETURN(const LoadedTokenizer loaded, LoadTokenizer(*checkpoint));
  tokenizer_ = loaded.tokenizer;
  if (runs_source()) {
    ASSIGN_OR_RETURN(source_, LoadModel(context_, std::move(checkpoint), SourceLimits()));
  }
  // Made last: an error before this point has touched nothing.
  ASSIGN_OR_RETURN(folder_,
                   StagedFolder::Create(*context_.files, options_.destination, options_.overwrite));
  return progress_.Advance(1, 1);
}

std::unique_ptr<FittedRecipe> Conversion::MakeRecipe() {
  switch (options_.recipe) {
    case Recipe::kEquivalent:
      return nullptr;
    case Recipe::kTransMla:
      return std::make_unique<TransMlaRecipe>(options_, context_, *weights_, progress_);
    case Recipe::kBest:
      return std::make_unique<BestRecipe>(options_, *weights_, progress_);
  }
  return nullptr;
}

StepLimits Conversion::SourceLimits() const {
  StepLimits limits =
      LimitsForBoth(CalibrationLimits(options_.seqlen), SamplingLimits(options_.seqlen));
  if (evaluates()) {
    limits = LimitsForBoth(limits, EvaluationLimits(options_.evaluation_length));
    limits = LimitsForBoth(limits, SamplingLimits(options_.evaluation_length));
  }
  return limits;
}

SequenceProgress Conversion::SequenceReporter(int offset, int total) {
  return [this, offset, total](int done, int) { return progress_.Advance(offset + done, total); };
}

absl::Status Conversion::GetText() {
  RETURN_IF_ERROR(progress_.Enter(ConversionStage::kText));
  if (!runs_source()) return progress_.Advance(1, 1);
  RETURN_IF_ERROR(options_.text_files.empty() ? SampleTexts() : ReadTexts());
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
  for (const std::vector<int32_t>& sequence : CalibrationText())
    report_.calibration_tokens += static_cast<int64_t>(sequence.size());
  return progress_.Advance(1, 1);
}

absl::Status Conversion::ReadTexts() {
  report_.calibration_source = "files";
  const SequenceCount calibration{SequencesToLearnFrom(), options_.seqlen};
  const SequenceCount evaluation{
      options_.evaluation_text.empty() ? options_.evaluation_sequences : 0,
      options_.evaluation_length};
  ASSIGN_OR_RETURN(const std::vector<int32_t> ids,
                   ReadTextIds(*context_.files, options_.text_files, *tokenizer_,
                               calibration.tokens() + evaluation.tokens()));
  if (lossless()) {
    if (evaluation.sequences == 0) return absl::OkStatus();
    ASSIGN_OR_RETURN(text_.evaluation, CutSequences(ids, evaluation.sequences, evaluation.length));
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(text_, SplitText(ids, calibration, evaluation));
  return absl::OkStatus();
}

absl::Status Conversion::SampleTexts() {
  report_.calibration_source = "sampled from the model";
  const SequenceCount calibration{SequencesToLearnFrom(), options_.seqlen};
  const SequenceCount evaluation{
      options_.evaluation_text.empty() ? options_.evaluation_sequences : 0,
      options_.evaluation_length};
  const int total = calibration.sequences + evaluation.sequences;
  // The model need not read again what it has just written, if that is enough to see.
  DecoderObserver* const observer =
      lossless() || recipe_->NeedsWholeSequences() ? nullptr : &recipe_->Observe(*source_.backend);
  ASSIGN_OR_RETURN(text_.calibration,
                   SampleSequences(*source_.decoder, *source_.backend, calibration, options_.seed,
                                   SequenceReporter(0, total), observer));
  observed_ = observer != nullptr;
  // Another seed: evaluation on calibration's own text would flatter the result.
  ASSIGN_OR_RETURN(text_.evaluation,
                   SampleSequences(*source_.decoder, *source_.backend, evaluation, ~options_.seed,
                                   SequenceReporter(calibration.sequences, total)));
  return absl::OkStatus();
}

absl::Status Conversion::Fit() {
  RETURN_IF_ERROR(progress_.Enter(ConversionStage::kCalibrate, weights_->spec().num_layers));
  const int sequences = static_cast<int>(CalibrationText().size());
  if (!observed_) {
    RETURN_IF_ERROR(ObserveSequences(*source_.decoder, *source_.backend, CalibrationText(),
                                     recipe_->Observe(*source_.backend),
                                     SequenceReporter(0, sequences)));
  }
  return recipe_->Fit(CalibrationText(), text_.evaluation, &report_);
}

absl::Status Conversion::Recover() {
  const ModelSpec& spec = weights_->spec();
  RETURN_IF_ERROR(progress_.Enter(ConversionStage::kRecover));
  ASSIGN_OR_RETURN(recovery_, Recovery::Create(*weights_, ResolveShape(options_, spec),
                                               ResolveAttentionScale(options_, spec)));
  for (int layer = 0; layer < spec.num_layers; ++layer) {
    ASSIGN_OR_RETURN(const LatentWeights latent, recipe_->Layer(layer));
    ASSIGN_OR_RETURN(const Matrix output, weights_->Output(layer));
    recovery_->SetLayer(layer, latent, output);
  }
  const TokenSequences text =
      absl::MakeConstSpan(text_.calibration)
          .first(std::min<size_t>(options_.RecoverySequences(), text_.calibration.size()));
  ASSIGN_OR_RETURN(const RecoveryLoss loss,
                   recovery_->Train(*source_.decoder, *source_.backend, text,
                                    {.learning_rate = options_.recovery_learning_rate},
                                    SequenceReporter(0, static_cast<int>(text.size()))));
  report_.recovery = {.tokens = loss.tokens, .kl_first = loss.first, .kl_last = loss.last};
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
  EmitOptions emit{.mla = ResolveShape(options_, weights_->spec()),
                   .biases = ResolveBiases(options_, weights_->spec()),
                   .dtype = ResolveDType(options_),
                   .format = options_.format,
                   .max_shard_bytes = options_.max_shard_bytes,
                   .own_output = recovery_ != nullptr};
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

absl::Status Conversion::Evaluate() {
  RETURN_IF_ERROR(progress_.Enter(ConversionStage::kEvaluate));
  // What was written is opened and loaded in any case: a result that does not load must not be
  // published.
  ASSIGN_OR_RETURN(std::shared_ptr<const CheckpointReader> written,
                   OpenCheckpoint(folder_->path()));
  const int length = text_.evaluation.empty() ? 1 : static_cast<int>(text_.evaluation[0].size());
  ASSIGN_OR_RETURN(LoadedModel result,
                   LoadModel(context_, std::move(written), EvaluationLimits(length)));
  if (text_.evaluation.empty()) return progress_.Advance(1, 1);
  absl::Status cancelled;
  absl::StatusOr<QualityReport> quality = CompareModels(
      {source_.decoder.get(), source_.backend.get()}, {result.decoder.get(), result.backend.get()},
      text_.evaluation, DType::kF32, [&](int done, int total) {
        cancelled = progress_.Advance(done, total);
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
  return Conversion(options, context).Run();
}

absl::StatusOr<ConversionReport> PlanConversion(const ConvertOptions& options) {
  if (options.source.empty()) return CheckPaths(options);
  ASSIGN_OR_RETURN(const std::shared_ptr<const CheckpointReader> checkpoint,
                   OpenCheckpoint(options.source));
  ASSIGN_OR_RETURN(const ModelSpec spec, ReadModelSpec(*checkpoint));
  RETURN_IF_ERROR(CheckFormat(options.format, *checkpoint, spec));
  ASSIGN_OR_RETURN(const ConvertOptions resolved, ResolveOptions(options, spec));
  RETURN_IF_ERROR(SourceWeights::Create(checkpoint, spec).status());
  return PlannedReport(resolved, spec);
}

}  // namespace transmla
