// Measures our `transmla` recipe against the recorded runs of TransMLA's published code on the
// whole texts, which are not part of the project: bench/conversion/check_parity runs it.
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <unistd.h>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "engine/backend/cpu/create.h"
#include "engine/base/file.h"
#include "engine/base/status.h"
#include "engine/convert/evaluate.h"
#include "engine/convert/loaded_model.h"
#include "engine/convert/text.h"
#include "engine/convert/work_folder.h"
#include "engine/format/checkpoint.h"
#include "engine/tokenizer/load.h"
#include "tests/engine/convert/published_run.h"
#include "tests/testing/real_models.h"

ABSL_FLAG(std::string, model, "smollm2", "smollm2 or qwen");
ABSL_FLAG(std::string, calibration, "", "calibration text");
ABSL_FLAG(std::string, evaluation, "", "evaluation text");
ABSL_FLAG(int, threads, 0, "0: all cores");
ABSL_FLAG(int, rope, 0, "only settings of this rope width; 0: all");
ABSL_FLAG(bool, converted_only, false,
          "measure perplexity of the converted models alone, in half the time");

namespace transmla::testing {
namespace {

constexpr int kCalibrationSequences = 128, kCalibrationLength = 256;
constexpr int kEvaluationSequences = 40, kEvaluationLength = 512;

// Largest relative difference of perplexities that counts as the same.
constexpr double kPerplexityTolerance = 0.01;

// Token sequences of a text whose ids must start like the published run's.
absl::StatusOr<std::vector<std::vector<int32_t>>> ReadSequences(
    const std::string& path, const Tokenizer& tokenizer, int sequences, int length,
    const std::vector<int32_t>& first_ids) {
  ASSIGN_OR_RETURN(const std::vector<int32_t> ids,
                   ReadTextIds(*PosixFileSystem(), {path}, tokenizer, sequences * length));
  if (ids.size() < first_ids.size() || !std::equal(first_ids.begin(), first_ids.end(), ids.begin()))
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": its first tokens are not those of the recorded run"));
  ASSIGN_OR_RETURN(std::vector<std::vector<int32_t>> cut, CutSequences(ids, sequences, length));
  if (static_cast<int>(cut.size()) != sequences)
    return absl::InvalidArgumentError(absl::StrCat(path, ": has ", cut.size(), " sequences of ",
                                                   length, " tokens but ", sequences,
                                                   " are needed"));
  return cut;
}

double Percent(double ours, double theirs) { return 100 * (ours / theirs - 1); }

// `ours` is 0 where it was not measured.
bool Agree(double ours, double theirs) {
  return ours == 0 || std::abs(Percent(ours, theirs)) < 100 * kPerplexityTolerance;
}

// "published | ours | difference"
std::string Compared(double ours, double theirs) {
  if (ours == 0) return absl::StrFormat("%.3f | – | –", theirs);
  return absl::StrFormat("%.3f | %.3f | %+.3f %%", theirs, ours, Percent(ours, theirs));
}

// Prints a row a setting. True if every perplexity agrees.
absl::StatusOr<bool> RunAll(const PublishedRun& published, const ParitySource& source,
                            double source_perplexity) {
  absl::FPrintF(stdout, "source perplexity: %s (published | ours | difference)\n",
                Compared(source_perplexity, published.source_perplexity));
  absl::FPrintF(
      stdout,
      "| rope + rank | freqfold | partial RoPE: published | ours | difference | converted: "
      "published | ours | difference | rope angle | latent angle | layers | key divisors "
      "|\n|---|---|---|---|---|---|---|---|---|---|---|---|\n");
  std::fflush(stdout);
  bool agree = Agree(source_perplexity, published.source_perplexity);
  for (const PublishedSetting& setting : published.settings) {
    const int rope = absl::GetFlag(FLAGS_rope);
    if (rope != 0 && rope != setting.qk_rope_head_dim) continue;
    ASSIGN_OR_RETURN(const ParityRow row, RunParity(source, published, setting, /*search=*/false));
    absl::FPrintF(stdout, "| %d + %d | %d | %s | %s | %.3f° | %.3f° | %d | %.2g |\n",
                  setting.qk_rope_head_dim, setting.kv_lora_rank, row.freqfold,
                  Compared(row.partial_rope_perplexity, setting.partial_rope_perplexity),
                  Compared(row.perplexity, setting.perplexity), row.rope_angle, row.latent_angle,
                  row.layers_compared, row.divisor_difference);
    std::fflush(stdout);
    agree = agree && Agree(row.partial_rope_perplexity, setting.partial_rope_perplexity) &&
            Agree(row.perplexity, setting.perplexity);
  }
  return agree;
}

absl::StatusOr<bool> Run() {
  const std::string name = absl::GetFlag(FLAGS_model);
  ASSIGN_OR_RETURN(const PublishedRun published, ReadPublishedRun(name));
  ASSIGN_OR_RETURN(const std::shared_ptr<const CheckpointReader> checkpoint,
                   OpenCheckpoint(RealModelPath(name == "qwen" ? kQwen : kSmolLm2)));
  ASSIGN_OR_RETURN(const LoadedTokenizer loaded, LoadTokenizer(*checkpoint));
  ASSIGN_OR_RETURN(
      const auto calibration,
      ReadSequences(absl::GetFlag(FLAGS_calibration), *loaded.tokenizer, kCalibrationSequences,
                    kCalibrationLength, published.calibration_first_ids));
  ASSIGN_OR_RETURN(
      const auto evaluation,
      ReadSequences(absl::GetFlag(FLAGS_evaluation), *loaded.tokenizer, kEvaluationSequences,
                    kEvaluationLength, published.evaluation_first_ids));
  ConversionContext context;
  context.make_backend = [] { return CreateCpuBackend({.threads = absl::GetFlag(FLAGS_threads)}); };
  ASSIGN_OR_RETURN(const ModelSpec spec, ReadModelSpec(*checkpoint));
  ASSIGN_OR_RETURN(const SourceWeights weights, SourceWeights::Create(checkpoint, spec));
  ParitySource source{.context = &context,
                      .weights = &weights,
                      .calibration = calibration,
                      .evaluation = evaluation};
  if (!absl::GetFlag(FLAGS_converted_only)) source.partial_rope_evaluation = evaluation;
  const std::string place =
      std::filesystem::temp_directory_path() / absl::StrCat("transmla-parity-", getpid());
  ASSIGN_OR_RETURN(const std::unique_ptr<WorkFolder> work,
                   WorkFolder::Open(*PosixFileSystem(), place, name));
  source.work = work.get();
  double source_perplexity = 0;
  if (!absl::GetFlag(FLAGS_converted_only)) {
    ASSIGN_OR_RETURN(LoadedModel model,
                     LoadModel(context, checkpoint, EvaluationLimits(kEvaluationLength)));
    ASSIGN_OR_RETURN(
        const PerplexityResult result,
        EvaluatePerplexity({model.decoder.get(), model.backend.get()}, evaluation, DType::kF32));
    source_perplexity = result.perplexity;
  }
  return RunAll(published, source, source_perplexity);
}

}  // namespace
}  // namespace transmla::testing

int main(int argc, char** argv) {
  absl::ParseCommandLine(argc, argv);
  const absl::StatusOr<bool> agree = transmla::testing::Run();
  if (!agree.ok()) {
    absl::FPrintF(stderr, "%s\n", agree.status().ToString());
    return 2;
  }
  return *agree ? 0 : 1;
}
