#include "engine/convert/progress.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"

namespace transmla {
namespace {

// Estimates from less than this share of the work are noise.
constexpr double kLeastShareForEstimate = 0.02;

// Rough shares of the time of a conversion on a CPU; only the progress bar depends on them.
std::vector<double> StageWeights(const ConvertOptions& options) {
  const bool lossless = options.recipe == Recipe::kEquivalent;
  const bool sampled = options.text_files.empty();
  const bool runs = !lossless || options.evaluation_sequences > 0;
  double rotate = 0.1, compress = 0.1;
  if (options.recipe == Recipe::kTransMla) {
    rotate = options.freqfold == 0 ? 25 : 8;
    compress = 22;
  } else if (options.recipe == Recipe::kBest) {
    compress = options.keep_output ? 5 : 30;
  }
  // A token of calibration goes through one model once, one of recovery through two, and back.
  const double recover = 20.0 * 5 * static_cast<double>(options.recovery_tokens) /
                         (static_cast<double>(options.nsamples) * options.seqlen);
  std::vector<double> weights = {/*load=*/2,
                                 /*text=*/sampled && runs ? 40.0 : 1.0,
                                 /*calibrate=*/lossless ? 0.1 : 20.0,
                                 /*choose=*/options.TriedRatios() * (8.0 + compress),
                                 rotate,
                                 compress,
                                 recover,
                                 /*write=*/4,
                                 /*evaluate=*/options.evaluation_sequences > 0 ? 15 : 0.1};
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  for (double& weight : weights) weight /= sum;
  return weights;
}

}  // namespace

absl::string_view ConversionStageName(ConversionStage stage) {
  switch (stage) {
    case ConversionStage::kLoad:
      return "load";
    case ConversionStage::kText:
      return "text";
    case ConversionStage::kCalibrate:
      return "calibrate";
    case ConversionStage::kChoose:
      return "choose";
    case ConversionStage::kRotate:
      return "rotate";
    case ConversionStage::kCompress:
      return "compress";
    case ConversionStage::kRecover:
      return "recover";
    case ConversionStage::kWrite:
      return "write";
    case ConversionStage::kEvaluate:
      return "evaluate";
  }
  return "";
}

ProgressTracker::ProgressTracker(const ConversionContext& context, const ConvertOptions& options)
    : context_(context), start_(context.clock->Now()), weights_(StageWeights(options)) {}

absl::Status ProgressTracker::Enter(ConversionStage stage, int layers) {
  const auto index = static_cast<size_t>(stage);
  stage_start_ = std::accumulate(weights_.begin(), weights_.begin() + index, 0.0);
  progress_.stage = stage;
  progress_.layer = 0;
  progress_.layers = layers;
  progress_.ratio = std::max(progress_.ratio, stage_start_);
  return Report();
}

absl::Status ProgressTracker::Advance(int done, int total, int layer) {
  const double share = total > 0 ? std::min(1.0, static_cast<double>(done) / total) : 1.0;
  const double weight = weights_[static_cast<size_t>(progress_.stage)];
  progress_.ratio = std::min(1.0, std::max(progress_.ratio, stage_start_ + share * weight));
  progress_.layer = layer;
  return Report();
}

absl::Status ProgressTracker::Report() {
  if (progress_.ratio >= kLeastShareForEstimate)
    progress_.time_left = elapsed() * ((1 - progress_.ratio) / progress_.ratio);
  if (context_.on_progress) context_.on_progress(progress_);
  if (context_.is_cancelled && context_.is_cancelled())
    return absl::CancelledError(
        absl::StrCat("conversion cancelled in stage ", ConversionStageName(progress_.stage)));
  return absl::OkStatus();
}

}  // namespace transmla
