#include "tests/engine/convert/published_run.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numbers>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

#include "engine/base/file.h"
#include "engine/base/status.h"
#include "engine/convert/evaluate.h"
#include "engine/convert/latent_model.h"
#include "engine/convert/layer_pass.h"
#include "engine/convert/progress.h"
#include "engine/convert/transmla_recipe.h"
#include "engine/format/safetensors_header.h"
#include "engine/linalg/product.h"
#include "engine/linalg/symmetric_eigen.h"
#include "engine/model/layer_decoder.h"
#include "engine/tensor/block_formats.h"

namespace transmla::testing {
namespace {

constexpr int64_t kMaxFixtureBytes = int64_t{64} << 20;

PublishedSetting ReadSetting(const nlohmann::json& json) {
  return {.qk_rope_head_dim = json["qk_rope_head_dim"],
          .kv_lora_rank = json["kv_lora_rank"],
          .freqfold = json["freqfold"],
          .partial_rope_perplexity = json["partial_rope_perplexity"],
          .perplexity = json["perplexity"],
          .key_divisors = json["balance_ratio"]};
}

absl::Status ReadBases(const std::string& path, PublishedRun* run) {
  ASSIGN_OR_RETURN(const std::string bytes, PosixFileSystem()->Read(path, kMaxFixtureBytes));
  ASSIGN_OR_RETURN(const std::vector<SafetensorsEntry> entries,
                   ParseSafetensorsHeader(path, bytes));
  for (const SafetensorsEntry& entry : entries) {
    if (!absl::EndsWith(entry.info.name, "_basis")) continue;
    Matrix basis(entry.info.shape[0], entry.info.shape[1]);
    std::vector<float> row(basis.cols());
    for (int64_t i = 0; i < basis.rows(); ++i) {
      DequantizeRow(entry.info.dtype,
                    bytes.data() + entry.offset + i * RowBytes(entry.info.dtype, basis.cols()),
                    absl::MakeSpan(row));
      std::copy(row.begin(), row.end(), basis.row(i).begin());
    }
    run->bases.emplace(entry.info.name, std::move(basis));
  }
  return absl::OkStatus();
}

Matrix LeadingColumns(const Matrix& m, int64_t count) {
  Matrix leading(m.rows(), count);
  for (int64_t i = 0; i < m.rows(); ++i)
    std::copy_n(m.row(i).begin(), count, leading.row(i).begin());
  return leading;
}

// Our bases of a layer in the source's coordinates.
Matrix RopeBasis(const LatentLayerPlan& plan) {
  Matrix basis(plan.key_map.cols(), plan.qk_rope_head_dim);
  for (int64_t i = 0; i < basis.rows(); ++i)
    for (int64_t j = 0; j < basis.cols(); ++j) basis(i, j) = plan.key_map(j, i);
  return basis;
}

Matrix LatentColumns(const LatentLayerPlan& plan, const LatentBasis& latent) {
  const int64_t width = plan.key_map.rows(), keys = width - plan.qk_rope_head_dim;
  const int64_t rank = latent.basis.cols();
  const Matrix turned_back =
      Multiply(plan.key_map.block(plan.qk_rope_head_dim, 0, keys, width), Transpose::kYes,
               latent.basis.block(0, 0, keys, rank), Transpose::kNo);
  Matrix basis(2 * width, rank);
  for (int64_t i = 0; i < width; ++i) {
    std::copy_n(turned_back.row(i).begin(), rank, basis.row(i).begin());
    std::copy_n(latent.basis.row(keys + i).begin(), rank, basis.row(width + i).begin());
  }
  return basis;
}

// Fills the angles and differences of `row`.
absl::Status CompareLayers(const TransMlaRecipe& recipe, int num_layers,
                           const PublishedRun& published, const PublishedSetting& setting,
                           ParityRow* row) {
  for (int layer = 0; layer < num_layers; ++layer) {
    ASSIGN_OR_RETURN(const TransMlaRecipe::CompressedLayer compressed, recipe.Compress(layer));
    const LatentLayerPlan& plan = compressed.plan;
    const double published_divisor = setting.key_divisors[layer];
    row->divisor_difference = std::max(
        row->divisor_difference, std::abs(compressed.basis.key_divisor / published_divisor - 1));
    const std::string prefix = absl::StrCat("rope", setting.qk_rope_head_dim, ".layer", layer, ".");
    const auto rope = published.bases.find(prefix + "rope_basis");
    const auto latent = published.bases.find(prefix + "latent_basis");
    if (rope == published.bases.end() || latent == published.bases.end()) continue;
    row->rope_angle = std::max(row->rope_angle, LargestAngle(RopeBasis(plan), rope->second));
    row->latent_angle = std::max(
        row->latent_angle, LargestAngle(LatentColumns(plan, compressed.basis),
                                        LeadingColumns(latent->second, setting.kv_lora_rank)));
    ++row->layers_compared;
  }
  return absl::OkStatus();
}

// Perplexity of the converted model, its attention in float32.
absl::StatusOr<double> ConvertedPerplexity(const ParitySource& source, const TransMlaRecipe& recipe,
                                           const ConvertOptions& options) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Backend> backend, source.context->make_backend());
  ModelSpec spec;
  ASSIGN_OR_RETURN(const LayeredModel model,
                   FittedModel(*source.weights, recipe, options, *backend, &spec));
  const auto go_on = [](int, int, int) { return absl::OkStatus(); };
  ASSIGN_OR_RETURN(const std::shared_ptr<const MappedFile> streams,
                   LayerPass(*source.work, "converted", model, source.evaluation, go_on).Run());
  ASSIGN_OR_RETURN(
      const std::unique_ptr<EndsDecoder> ends,
      EndsDecoder::Load(model.ends, spec, backend.get(),
                        EvaluationLimits(static_cast<int>(source.evaluation[0].size()))));
  ASSIGN_OR_RETURN(const PerplexityResult result,
                   StreamsPerplexity({ends.get(), &spec, streams.get()}, source.evaluation,
                                     backend->info().host_threads));
  return result.perplexity;
}

}  // namespace

absl::StatusOr<PublishedRun> ReadPublishedRun(const std::string& name) {
  const std::string stem = absl::StrCat(TRANSMLA_SOURCE_DIR, "/tests/golden/transmla/", name);
  ASSIGN_OR_RETURN(const std::string text,
                   PosixFileSystem()->Read(stem + ".json", kMaxFixtureBytes));
  const nlohmann::json json = nlohmann::json::parse(text);
  PublishedRun run;
  run.source_perplexity = json["source_perplexity"];
  run.calibration_first_ids = json["calibration_first_ids"].get<std::vector<int32_t>>();
  run.evaluation_first_ids = json["eval_first_ids"].get<std::vector<int32_t>>();
  for (const nlohmann::json& setting : json["settings"])
    run.settings.push_back(ReadSetting(setting));
  if (json.contains("calibration"))
    run.calibration = json["calibration"].get<std::vector<std::vector<int32_t>>>();
  if (json.contains("evaluation"))
    run.evaluation = json["evaluation"].get<std::vector<std::vector<int32_t>>>();
  RETURN_IF_ERROR(ReadBases(stem + ".safetensors", &run));
  return run;
}

absl::StatusOr<ParityRow> RunParity(const ParitySource& source, const PublishedRun& published,
                                    const PublishedSetting& setting, bool search) {
  ConvertOptions options;
  options.recipe = Recipe::kTransMla;
  options.qk_rope_head_dim = setting.qk_rope_head_dim;
  options.kv_lora_rank = setting.kv_lora_rank;
  options.freqfold = search ? 0 : setting.freqfold;
  ASSIGN_OR_RETURN(options, ResolveOptions(options, source.weights->spec()));
  ProgressTracker progress(*source.context, options);
  TransMlaRecipe recipe(options, *source.weights, progress);
  ASSIGN_OR_RETURN(const std::unique_ptr<Backend> backend, source.context->make_backend());
  ConversionReport report;
  RETURN_IF_ERROR(recipe
                      .Calibrate(*source.work,
                                 WholeModel(source.weights->shared_checkpoint(),
                                            source.weights->spec(), *backend),
                                 source.calibration)
                      .status());
  RETURN_IF_ERROR(recipe.Fit(source.calibration, source.partial_rope_evaluation, &report));
  ParityRow row;
  row.freqfold = report.freqfold;
  row.partial_rope_perplexity = report.perplexity_partial_rope.value_or(0);
  RETURN_IF_ERROR(
      CompareLayers(recipe, source.weights->spec().num_layers, published, setting, &row));
  ASSIGN_OR_RETURN(row.perplexity, ConvertedPerplexity(source, recipe, options));
  return row;
}

double LargestAngle(const Matrix& a, const Matrix& b) {
  CHECK_EQ(a.cols(), b.cols());
  // The sine is the largest singular value of what of b lies outside the span of a. (The cosine
  // would lose small angles to rounding.)
  const Matrix inside = Multiply(a, Multiply(a, Transpose::kYes, b, Transpose::kNo));
  Matrix outside = b;
  for (size_t i = 0; i < outside.values().size(); ++i) outside.values()[i] -= inside.values()[i];
  const absl::StatusOr<SymmetricEigen> eigen =
      DecomposeSymmetric(Multiply(outside, Transpose::kYes, outside, Transpose::kNo));
  CHECK_OK(eigen.status());
  const double sine = std::sqrt(std::clamp(eigen->values[0], 0.0, 1.0));
  return std::asin(sine) * 180 / std::numbers::pi;
}

}  // namespace transmla::testing
