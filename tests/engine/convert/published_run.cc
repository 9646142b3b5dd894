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
#include "engine/convert/latent_checkpoint.h"
#include "engine/convert/loaded_model.h"
#include "engine/convert/plan.h"
#include "engine/convert/progress.h"
#include "engine/convert/transmla_recipe.h"
#include "engine/format/safetensors_header.h"
#include "engine/linalg/product.h"
#include "engine/linalg/symmetric_eigen.h"
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
void CompareLayers(const TransMlaRecipe& recipe, int num_layers, const PublishedRun& published,
                   const PublishedSetting& setting, ParityRow* row) {
  for (int layer = 0; layer < num_layers; ++layer) {
    const LatentLayerPlan& plan = recipe.plan(layer);
    const double published_divisor = setting.key_divisors[layer];
    row->divisor_difference = std::max(
        row->divisor_difference, std::abs(recipe.basis(layer).key_divisor / published_divisor - 1));
    const std::string prefix = absl::StrCat("rope", setting.qk_rope_head_dim, ".layer", layer, ".");
    const auto rope = published.bases.find(prefix + "rope_basis");
    const auto latent = published.bases.find(prefix + "latent_basis");
    if (rope == published.bases.end() || latent == published.bases.end()) continue;
    row->rope_angle = std::max(row->rope_angle, LargestAngle(RopeBasis(plan), rope->second));
    row->latent_angle = std::max(
        row->latent_angle, LargestAngle(LatentColumns(plan, recipe.basis(layer)),
                                        LeadingColumns(latent->second, setting.kv_lora_rank)));
    ++row->layers_compared;
  }
}

// Perplexity of the converted model, its attention in float32.
absl::StatusOr<double> ConvertedPerplexity(const ParitySource& source, const TransMlaRecipe& recipe,
                                           const ConvertOptions& options) {
  const ModelSpec& spec = source.weights->spec();
  auto checkpoint = std::make_shared<LatentCheckpoint>(
      *source.weights,
      LatentConfig(*source.weights, ResolveShape(options, spec), ResolveBiases(options, spec),
                   ResolveAttentionScale(options, spec)));
  for (int layer = 0; layer < spec.num_layers; ++layer) {
    ASSIGN_OR_RETURN(const LatentWeights weights, recipe.Layer(layer));
    checkpoint->AddLayer(layer, weights);
  }
  ASSIGN_OR_RETURN(LoadedModel model,
                   LoadModel(*source.context, std::move(checkpoint),
                             EvaluationLimits(static_cast<int>(source.evaluation[0].size()))));
  ASSIGN_OR_RETURN(
      const PerplexityResult result,
      EvaluatePerplexity(*model.decoder, *model.backend, source.evaluation, DType::kF32));
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
                                    const PublishedSetting& setting, bool search,
                                    ParityRotation* rotation) {
  ConvertOptions options;
  options.recipe = Recipe::kTransMla;
  options.qk_rope_head_dim = setting.qk_rope_head_dim;
  options.kv_lora_rank = setting.kv_lora_rank;
  options.freqfold = search ? 0 : setting.freqfold;
  ASSIGN_OR_RETURN(options, ResolveOptions(options, source.weights->spec()));
  ProgressTracker progress(*source.context, options);
  TransMlaRecipe recipe(options, *source.context, *source.weights, progress);
  ConversionReport report;
  const bool reuse = rotation->qk_rope_head_dim == setting.qk_rope_head_dim;
  RETURN_IF_ERROR(recipe.Rotate(source.keys, source.calibration,
                                reuse ? TokenSequences() : source.partial_rope_evaluation,
                                &report));
  if (!reuse) {
    rotation->qk_rope_head_dim = setting.qk_rope_head_dim;
    rotation->partial_rope_perplexity = report.perplexity_partial_rope.value_or(0);
    ASSIGN_OR_RETURN(rotation->moments, recipe.CalibrateRotated(source.calibration));
  }
  RETURN_IF_ERROR(recipe.Compress(rotation->moments, &report));
  ParityRow row;
  row.freqfold = report.freqfold;
  row.partial_rope_perplexity = rotation->partial_rope_perplexity;
  CompareLayers(recipe, source.weights->spec().num_layers, published, setting, &row);
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
