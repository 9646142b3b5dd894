// Conversions of tiny models from end to end, through files.
#include "engine/convert/pipeline.h"

#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "engine/base/check.h"
#include "engine/base/cpu_info.h"
#include "engine/base/random.h"
#include "engine/convert/evaluate.h"
#include "engine/convert/loaded_model.h"
#include "engine/format/checkpoint.h"
#include "engine/tokenizer/load.h"
#include "tests/engine/convert/tiny_conversion.h"
#include "tests/testing/temp_folder.h"

namespace transmla {
namespace {

using ::testing::HasSubstr;
using testing::kTinyLayers;
using testing::kTinyWidth;
using testing::TempFolder;
using testing::TinyContext;
using testing::TinyModel;
using testing::TinyOptions;

constexpr int64_t kSourceCacheBytes = 2 * 2 * kTinyWidth * kTinyLayers;  // BF16 keys and values

// Loads the folder as the server would, and returns its features.
ModelSpec ExpectLoads(const std::string& folder) {
  const absl::StatusOr<std::shared_ptr<const CheckpointReader>> checkpoint = OpenCheckpoint(folder);
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
  if (!checkpoint.ok()) return {};
  const absl::StatusOr<LoadedTokenizer> tokenizer = LoadTokenizer(**checkpoint);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  const absl::StatusOr<LoadedModel> model = LoadModel(
      TinyContext(), *checkpoint,
      {.max_tokens = 8, .max_sequences = 1, .max_logit_tokens = 1, .max_context_tokens = 8});
  EXPECT_TRUE(model.ok()) << model.status();
  return model.ok() ? model->decoder->spec() : ModelSpec();
}

int64_t BytesIn(const std::string& folder) {
  int64_t bytes = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    bytes += static_cast<int64_t>(entry.file_size());
  return bytes;
}

std::map<std::string, std::string> FilesIn(const std::string& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    std::ifstream file(entry.path(), std::ios::binary);
    files[entry.path().filename()] = std::string(std::istreambuf_iterator<char>(file), {});
  }
  return files;
}

nlohmann::json ReadReport(const std::string& folder) {
  return nlohmann::json::parse(FilesIn(folder).at("transmla_report.json"));
}

class SourceTest : public ::testing::TestWithParam<const char*> {};

TEST_P(SourceTest, CompressedModelLoadsAndIsReportedInFull) {
  const TempFolder folder;
  const ConvertOptions options = TinyOptions(GetParam(), folder.File("model"));
  const absl::StatusOr<ConversionReport> report = Convert(options, TinyContext());
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(folder.Count(), 1);

  const ModelSpec spec = ExpectLoads(options.destination);
  EXPECT_EQ(spec.attention, AttentionKind::kMla);
  EXPECT_EQ(spec.mla.kv_lora_rank, 24);
  EXPECT_EQ(spec.mla.qk_rope_head_dim, 8);
  EXPECT_EQ(spec.source_cache_values, 2 * kTinyWidth);

  const nlohmann::json json = ReadReport(options.destination);
  EXPECT_EQ(json["recipe"], "transmla");
  EXPECT_EQ(json["cache_bytes_per_token_before"], kSourceCacheBytes);
  EXPECT_EQ(json["cache_bytes_per_token_after"], kSourceCacheBytes / 2);
  EXPECT_EQ(json["calibration_tokens"], 6 * 33);
  EXPECT_EQ(json["calibration_source"], "sampled from the model");
  EXPECT_THAT(json["freqfold"].get<int>(), ::testing::AnyOf(2, 4, 8));
  ASSERT_EQ(json["layers"].size(), kTinyLayers);
  for (int layer = 0; layer < kTinyLayers; ++layer) {
    const nlohmann::json& errors = json["layers"][layer];
    EXPECT_EQ(errors["layer"], layer);
    for (const char* share : {"rope_key_energy_kept", "key_error", "value_error"}) {
      EXPECT_GT(errors[share].get<double>(), 0) << share;
      EXPECT_LT(errors[share].get<double>(), 1) << share;
    }
  }
  EXPECT_THAT(FilesIn(options.destination)["transmla_report.html"], HasSubstr("</html>"));
  const nlohmann::json& quality = json["quality"];
  EXPECT_EQ(quality["tokens"], 2 * 39);
  EXPECT_GT(quality["perplexity_before"].get<double>(), 1);
  EXPECT_GT(quality["perplexity_after"].get<double>(), quality["perplexity_before"].get<double>());
  EXPECT_GT(quality["kl_divergence"].get<double>(), 0);
  // Half the cache of a random network may well agree nowhere.
  EXPECT_GE(quality["greedy_agreement"].get<double>(), 0);
  EXPECT_LT(quality["greedy_agreement"].get<double>(), 1);
  EXPECT_GT(json["perplexity_partial_rope"].get<double>(), 1);
  EXPECT_GT(json["seconds"].get<double>(), 0);
  EXPECT_GT(json["peak_memory_bytes"].get<int64_t>(), 1 << 20);
  EXPECT_NEAR(json["bytes_written"].get<double>(), BytesIn(options.destination), 2);
  EXPECT_EQ(report->ToJson(), FilesIn(options.destination)["transmla_report.json"]);
}

TEST_P(SourceTest, EquivalentModelGivesTheSourcesLogits) {
  const TempFolder folder;
  ConvertOptions options = TinyOptions(GetParam(), folder.File("model"));
  options.recipe = Recipe::kEquivalent;
  const absl::StatusOr<ConversionReport> report = Convert(options, TinyContext());
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(ExpectLoads(options.destination).attention, AttentionKind::kMla);
  ASSERT_TRUE(report->quality.has_value());
  // Logits are about 10; sums run in float32 in another order.
  EXPECT_LT(report->quality->max_logit_difference, 2e-4);
  EXPECT_EQ(report->quality->greedy_agreement, 1);
  EXPECT_LT(std::abs(report->quality->kl_divergence), 1e-6);
  EXPECT_EQ(report->cache_bytes_per_token_before, kSourceCacheBytes);
  EXPECT_EQ(report->cache_bytes_per_token_after, kSourceCacheBytes);
  EXPECT_TRUE(report->layers.empty());
}

// As wide as the source, recipe best loses nothing: every map of it is exact.
TEST_P(SourceTest, BestAtFullSizeGivesTheSourcesLogits) {
  const TempFolder folder;
  ConvertOptions options = TinyOptions(GetParam(), folder.File("model"));
  options.recipe = Recipe::kBest;
  options.qk_rope_head_dim = kTinyWidth;
  options.kv_lora_rank = kTinyWidth;
  options.dtype = DType::kF32;
  const absl::StatusOr<ConversionReport> report = Convert(options, TinyContext());
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(ExpectLoads(options.destination).attention, AttentionKind::kMla);
  ASSERT_TRUE(report->quality.has_value());
  EXPECT_LT(report->quality->max_logit_difference, 5e-4);
  EXPECT_EQ(report->quality->greedy_agreement, 1);
  EXPECT_LT(std::abs(report->quality->kl_divergence), 1e-6);
}

TEST_P(SourceTest, BestCompressesAndReports) {
  const TempFolder folder;
  ConvertOptions options = TinyOptions(GetParam(), folder.File("model"));
  options.recipe = Recipe::kBest;
  options.q_lora_rank = 40;
  const absl::StatusOr<ConversionReport> report = Convert(options, TinyContext());
  ASSERT_TRUE(report.ok()) << report.status();
  const ModelSpec spec = ExpectLoads(options.destination);
  EXPECT_EQ(spec.mla.kv_lora_rank, 24);
  EXPECT_EQ(spec.mla.q_lora_rank, 40);
  EXPECT_TRUE(spec.output_bias);
  EXPECT_EQ(report->recipe, "best");
  ASSERT_EQ(report->layers.size(), kTinyLayers);
  for (const LayerReport& layer : report->layers) {
    for (const double share : {layer.rope_key_energy_kept, layer.key_error, layer.value_error}) {
      EXPECT_GT(share, 0);
      EXPECT_LT(share, 1);
    }
  }
  EXPECT_GT(report->quality->kl_divergence, 0);
}

// Runs both folders over random ids.
QualityReport CompareFolders(const std::string& one, const std::string& other) {
  Random random(3);
  std::vector<std::vector<int32_t>> sequences(2, std::vector<int32_t>(40));
  for (std::vector<int32_t>& ids : sequences)
    for (int32_t& id : ids) id = static_cast<int32_t>(random.Below(400));
  std::vector<LoadedModel> models;
  for (const std::string& path : {one, other}) {
    const auto checkpoint = OpenCheckpoint(path);
    CHECK_OK(checkpoint.status());
    auto model = LoadModel(TinyContext(), *checkpoint, EvaluationLimits(40));
    CHECK_OK(model.status());
    models.push_back(*std::move(model));
  }
  const auto quality =
      CompareModels({models[0].decoder.get(), models[0].backend.get()},
                    {models[1].decoder.get(), models[1].backend.get()}, sequences, DType::kF32);
  CHECK_OK(quality.status());
  return *quality;
}

// Both formats are of one conversion: the rank counts the constant that the format adds.
TEST_P(SourceTest, StockFormatGivesTheSameLogits) {
  const TempFolder folder;
  for (const Recipe recipe : {Recipe::kEquivalent, Recipe::kTransMla, Recipe::kBest}) {
    SCOPED_TRACE(RecipeName(recipe));
    ConvertOptions options = TinyOptions(GetParam(), folder.File("ours"));
    options.recipe = recipe;
    options.shared_frequencies = true;
    options.dtype = DType::kF32;
    options.evaluation_sequences = 0;
    options.overwrite = true;
    ASSERT_TRUE(Convert(options, TinyContext()).ok());
    options.destination = folder.File("stock");
    options.format = OutputFormat::kDeepseekV3;
    if (recipe != Recipe::kEquivalent) options.kv_lora_rank += 1;
    const absl::StatusOr<ConversionReport> report = Convert(options, TinyContext());
    if (absl::StrContains(GetParam(), "mixtral")) {
      EXPECT_EQ(report.status().code(), absl::StatusCode::kUnimplemented) << report.status();
      continue;
    }
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_EQ(report->format, "deepseek-v3");
    EXPECT_EQ(report->q_lora_rank, 65);
    const ModelSpec spec = ExpectLoads(options.destination);
    EXPECT_TRUE(spec.mla.latent_norm);
    EXPECT_EQ(spec.mla.kv_lora_rank, recipe == Recipe::kEquivalent ? kTinyWidth + 1 : 25);
    EXPECT_EQ(spec.inv_freq[0], spec.inv_freq[1]);
    EXPECT_EQ(spec.source_cache_values, 2 * kTinyWidth);
    // Logits are about 10; sums run in float32 in another order.
    EXPECT_LT(CompareFolders(folder.File("ours"), folder.File("stock")).max_logit_difference, 5e-4);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, SourceTest,
                         ::testing::Values("llama_tied", "llama_untied_scaled_sharded", "qwen2",
                                           "llama_tied_q8_0_gguf/model.gguf",
                                           "llama_untied_scaled_f16_gguf/model.gguf", "mixtral",
                                           "mixtral_q8_0_gguf/model.gguf"),
                         [](const auto& tested) {
                           const std::string name = tested.param;
                           return name.substr(0, name.find('/'));
                         });

// Converts in our format and in the stock one; the largest difference of their logits.
double DifferenceOfFormats(ConvertOptions options, const TempFolder& folder) {
  options.shared_frequencies = true;
  options.dtype = DType::kF32;
  options.evaluation_sequences = 0;
  options.overwrite = true;
  options.destination = folder.File("ours");
  CHECK_OK(Convert(options, TinyContext()).status());
  options.destination = folder.File("stock");
  options.format = OutputFormat::kDeepseekV3;
  if (options.recipe != Recipe::kEquivalent) options.kv_lora_rank += 1;
  CHECK_OK(Convert(options, TinyContext()).status());
  return CompareFolders(folder.File("ours"), folder.File("stock")).max_logit_difference;
}

// Dimensions that RoPE does not turn have a frequency of zero; keys have longrope's magnitude.
TEST(PipelineTest, StockFormatHoldsLongropeOverAPartOfAHead) {
  const TempFolder folder;
  for (const Recipe recipe : {Recipe::kEquivalent, Recipe::kTransMla, Recipe::kBest}) {
    SCOPED_TRACE(RecipeName(recipe));
    ConvertOptions options = TinyOptions("phi3_longrope", "");
    options.recipe = recipe;
    if (recipe == Recipe::kTransMla) options.qk_rope_head_dim = 14;
    EXPECT_LT(DifferenceOfFormats(options, folder), 5e-4);
  }
}

TEST(PipelineTest, StockFormatHoldsRecoveredAttention) {
  const TempFolder folder;
  ConvertOptions options = TinyOptions("qwen2", "");
  options.recipe = Recipe::kBest;
  options.recovery_tokens = 6 * 33;
  EXPECT_LT(DifferenceOfFormats(options, folder), 5e-4);
  // Training has moved it by far more.
  options.destination = folder.File("untrained");
  options.shared_frequencies = true;
  options.recovery_tokens = 0;
  options.dtype = DType::kF32;
  ASSERT_TRUE(Convert(options, TinyContext()).ok());
  EXPECT_GT(CompareFolders(folder.File("untrained"), folder.File("stock")).max_logit_difference,
            1e-2);
}

// The report compares models in memory; here it is the files.
TEST(PipelineTest, WrittenExpertsComputeWhatTheSourcesDo) {
  const TempFolder folder;
  for (const char* source : {"mixtral", "mixtral_q8_0_gguf/model.gguf"}) {
    SCOPED_TRACE(source);
    ConvertOptions options = TinyOptions(source, folder.File("model"));
    options.recipe = Recipe::kEquivalent;
    options.evaluation_sequences = 0;
    options.overwrite = true;
    const absl::StatusOr<ConversionReport> report = Convert(options, TinyContext());
    ASSERT_TRUE(report.ok()) << report.status();
    const MoeSpec moe = ExpectLoads(options.destination).moe;
    EXPECT_EQ(moe.num_experts, 5);
    EXPECT_EQ(moe.num_experts_per_tok, 2);
    EXPECT_EQ(moe.intermediate_size, 32);
    EXPECT_TRUE(moe.norm_topk_prob);
    EXPECT_EQ(moe.layers, std::vector<bool>(kTinyLayers, true));
    EXPECT_LT(CompareFolders(options.source, options.destination).max_logit_difference, 2e-4);
  }
}

TEST(PipelineTest, QueryRankAndTypesLoad) {
  const TempFolder folder;
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    ConvertOptions options = TinyOptions("qwen2", folder.File(DTypeName(dtype)));
    options.dtype = dtype;
    options.q_lora_rank = 40;
    options.evaluation_sequences = 0;
    const absl::StatusOr<ConversionReport> report = Convert(options, TinyContext());
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_FALSE(report->quality.has_value());
    EXPECT_EQ(ExpectLoads(options.destination).mla.q_lora_rank, 40);
  }
  EXPECT_GT(BytesIn(folder.File("f32")), 3 * BytesIn(folder.File("bf16")) / 2);
}

TEST(PipelineTest, SameSeedGivesTheSameBytes) {
  const TempFolder folder;
  std::map<std::string, std::string> first;
  for (const uint64_t seed : {7, 7, 8}) {
    ConvertOptions options = TinyOptions("llama_tied", folder.File("model"));
    options.seed = seed;
    options.overwrite = true;
    const absl::StatusOr<ConversionReport> report = Convert(options, TinyContext());
    ASSERT_TRUE(report.ok()) << report.status();
    std::map<std::string, std::string> files = FilesIn(options.destination);
    files.erase("transmla_report.json");  // hold the time it took
    files.erase("transmla_report.html");
    if (first.empty()) first = files;
    EXPECT_EQ(files == first, seed == 7) << "seed " << seed;
  }
}

TEST(PipelineTest, ThreadsDoNotChangeTheResult) {
  const TempFolder folder;
  std::vector<std::string> weights;
  for (const int threads : {1, 3}) {
    const ConvertOptions options =
        TinyOptions("llama_tied", folder.File(absl::StrCat("threads", threads)));
    ConversionContext context = TinyContext();
    context.make_backend = [threads] { return CreateCpuBackend({.threads = threads}); };
    ASSERT_TRUE(Convert(options, context).ok());
    weights.push_back(FilesIn(options.destination)["model.safetensors"]);
  }
  EXPECT_EQ(weights[0], weights[1]);
}

TEST(PipelineTest, ComparedRatiosAreMeasuredAsResultsAre) {
  const TempFolder folder;
  for (const Recipe recipe : {Recipe::kBest, Recipe::kTransMla}) {
    ConvertOptions options = TinyOptions("qwen2", folder.File(RecipeName(recipe)));
    options.recipe = recipe;
    options.freqfold = recipe == Recipe::kTransMla ? 4 : 0;
    options.qk_rope_head_dim = 0;
    options.kv_lora_rank = 0;
    options.cache_ratio = 0.5;
    options.compare_ratios = {0.5, 0.25};
    options.dtype = DType::kF32;
    const absl::StatusOr<ConversionReport> report = Convert(options, TinyContext());
    ASSERT_TRUE(report.ok()) << report.status();
    ASSERT_EQ(report->compared.size(), 2);
    EXPECT_EQ(report->compared[0].kv_lora_rank, report->kv_lora_rank);
    EXPECT_EQ(report->compared[0].cache_bytes_per_token, report->cache_bytes_per_token_after);
    // The same weights, in memory and from the file.
    EXPECT_NEAR(report->compared[0].quality.perplexity_after / report->quality->perplexity_after, 1,
                1e-6);
    EXPECT_EQ(report->compared[1].cache_bytes_per_token, kSourceCacheBytes / 4);
    EXPECT_GT(report->compared[1].quality.kl_divergence, report->compared[0].quality.kl_divergence);
    EXPECT_THAT(report->ToText(), HasSubstr("0.2500"));
    EXPECT_THAT(FilesIn(options.destination)["transmla_report.html"],
                HasSubstr("on the evaluation text"));
  }
}

TEST(PipelineTest, APerplexityChoosesTheCache) {
  const TempFolder folder;
  ConvertOptions options = TinyOptions("qwen2", folder.File("model"));
  options.recipe = Recipe::kBest;
  options.qk_rope_head_dim = 0;
  options.kv_lora_rank = 0;
  options.max_perplexity_increase = 0.3;
  const absl::StatusOr<ConversionReport> report = Convert(options, TinyContext());
  ASSERT_TRUE(report.ok()) << report.status();
  // On the text of the choice the result is within the limit and the next smaller is not.
  const double ratio = static_cast<double>(report->cache_bytes_per_token_after) /
                       static_cast<double>(kSourceCacheBytes);
  bool chosen = false;
  for (const RatioReport& tried : report->tried) {
    const double rise = tried.quality.perplexity_after / tried.quality.perplexity_before - 1;
    EXPECT_EQ(rise <= 0.3, tried.cache_ratio >= ratio - 1e-9) << tried.cache_ratio;
    chosen = chosen || std::abs(tried.cache_ratio - ratio) < 1e-9;
  }
  EXPECT_TRUE(chosen);
  EXPECT_GE(report->tried.size(), 2);

  options.destination = folder.File("other");
  options.max_perplexity_increase = 1e-9;
  const absl::Status none = Convert(options, TinyContext()).status();
  EXPECT_EQ(none.code(), absl::StatusCode::kFailedPrecondition) << none;
  options.cache_ratio = 0.5;
  EXPECT_EQ(Convert(options, TinyContext()).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(folder.Count(), 1);
}

TEST(PipelineTest, ExistingDestinationIsKept) {
  const TempFolder folder;
  ConvertOptions options = TinyOptions("llama_tied", folder.File("model"));
  options.evaluation_sequences = 0;
  ASSERT_TRUE(Convert(options, TinyContext()).ok());
  const std::map<std::string, std::string> before = FilesIn(options.destination);
  const absl::Status again = Convert(options, TinyContext()).status();
  EXPECT_EQ(again.code(), absl::StatusCode::kAlreadyExists) << again;
  EXPECT_THAT(std::string(again.message()), HasSubstr(options.destination));
  EXPECT_EQ(FilesIn(options.destination), before);

  // Even with --overwrite a folder that is no model is not touched.
  std::filesystem::create_directories(folder.File("photos"));
  folder.Write("photos/one.jpg", "x");
  options.destination = folder.File("photos");
  options.overwrite = true;
  EXPECT_EQ(Convert(options, TinyContext()).status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(FilesIn(options.destination).size(), 1);
}

TEST(PipelineTest, TextThatIsTooShortIsAnErrorThatSaysSo) {
  const TempFolder folder;
  ConvertOptions options = TinyOptions("llama_tied", folder.File("model"));
  options.sample_text = false;
  options.text_files = {folder.Write("text", "ten chars.")};
  const absl::Status status = Convert(options, TinyContext()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("calibration text"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("one sequence needs 33"));
  EXPECT_EQ(folder.Count(), 1);  // the text

  options.sample_text = false;
  options.text_files = {folder.File("missing")};
  EXPECT_EQ(Convert(options, TinyContext()).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(folder.Count(), 1);
}

std::string Words(int count) {
  Random random(5);
  std::string text;
  for (int i = 0; i < count; ++i)
    absl::StrAppend(&text, i % 9 == 8 ? ".\n" : " ", "word", random.Below(1000));
  return text;
}

TEST(PipelineTest, CalibratesAndEvaluatesOnFiles) {
  const TempFolder folder;
  ConvertOptions options = TinyOptions("llama_tied", folder.File("model"));
  options.sample_text = false;
  options.text_files = {folder.Write("one", Words(20)), folder.Write("two", Words(500))};
  options.evaluation_text = folder.Write("three", Words(400));
  const absl::StatusOr<ConversionReport> report = Convert(options, TinyContext());
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->calibration_source, "files");
  EXPECT_EQ(report->calibration_tokens, 6 * 33);
  ASSERT_TRUE(report->quality.has_value());
  EXPECT_EQ(report->quality->tokens, 2 * 39);
}

TEST(PipelineTest, MemoryDoesNotGrowWithTheText) {
  const TempFolder folder;
  ConvertOptions options = TinyOptions("llama_tied", folder.File("model"));
  options.sample_text = false;
  options.text_files = {folder.Write("text", Words(40'000))};
  options.overwrite = true;
  options.freqfold = 4;
  ASSERT_TRUE(Convert(options, TinyContext()).ok());
  const int64_t before = PeakResidentBytes();
  options.nsamples = 2000;
  const absl::StatusOr<ConversionReport> report = Convert(options, TinyContext());
  ASSERT_TRUE(report.ok()) << report.status();
  ASSERT_EQ(report->calibration_tokens, 2000 * 33);
  // Keys and values of these tokens alone would be 33 MB as floats. Their ids are 0.3 MB, twice;
  // the rest is what an allocator may keep.
  EXPECT_LT(PeakResidentBytes() - before, 8 << 20);
}

TEST(PipelineTest, ProgressNeverFallsAndEndsAtOne) {
  const TempFolder folder;
  ConversionContext context = TinyContext();
  std::vector<ConversionProgress> seen;
  context.on_progress = [&](const ConversionProgress& progress) { seen.push_back(progress); };
  ASSERT_TRUE(Convert(TinyOptions("llama_tied", folder.File("model")), context).ok());
  std::set<ConversionStage> stages;
  for (size_t i = 0; i < seen.size(); ++i) {
    stages.insert(seen[i].stage);
    EXPECT_LE(seen[i].layer, seen[i].layers);
    if (i == 0) continue;
    EXPECT_GE(seen[i].ratio, seen[i - 1].ratio);
    EXPECT_GE(seen[i].stage, seen[i - 1].stage);
  }
  EXPECT_EQ(stages.size(), 7);
  EXPECT_NEAR(seen.back().ratio, 1, 1e-9);
  EXPECT_LT(seen.back().time_left, absl::Seconds(1));
}

// Converts a copy of `llama_tied`, with one piece of its weights file replaced, without a loss and
// without an evaluation: nobody runs the source, whose reader checks neither values nor types.
absl::Status ConvertAltered(const TempFolder& folder, size_t at, const std::string& piece,
                            std::optional<DType> dtype = std::nullopt) {
  ConvertOptions options = TinyOptions("llama_tied", folder.File("model"));
  std::filesystem::copy(options.source, folder.File("source"));
  options.source = folder.File("source");
  std::string bytes = folder.Read("source/model.safetensors");
  bytes.replace(at, piece.size(), piece);
  folder.Write("source/model.safetensors", bytes);
  options.recipe = Recipe::kEquivalent;
  options.dtype = dtype;
  options.evaluation_sequences = 0;
  return Convert(options, TinyContext()).status();
}

std::string TinyWeights() { return FilesIn(TinyModel("llama_tied")).at("model.safetensors"); }

TEST(PipelineTest, DamagedWeightsAreNamed) {
  const TempFolder folder;
  // The last element of the last tensor by offset.
  const absl::Status status =
      ConvertAltered(folder, TinyWeights().size() - 4, std::string("\x00\x00\xc0\x7f", 4));
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("model."));
  EXPECT_EQ(folder.Count(), 1);  // the source
}

TEST(PipelineTest, WhatIsReadIsNeverOverwritten) {
  const TempFolder folder;
  const std::string source = folder.File("source");
  std::filesystem::copy(TinyModel("llama_tied"), source);
  const std::map<std::string, std::string> before = FilesIn(source);
  ConvertOptions options = TinyOptions("llama_tied", source);
  options.source = source;
  options.overwrite = true;
  for (const char* destination : {"source", "source/", "nowhere/../source"}) {
    options.destination = folder.File(destination);
    const absl::Status status = Convert(options, TinyContext()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("which the conversion reads"));
  }
  options.source = TinyModel("llama_tied");
  options.destination = source;
  options.sample_text = false;
  options.text_files = {folder.File("source/config.json")};
  EXPECT_EQ(Convert(options, TinyContext()).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(FilesIn(source), before);
}

TEST(PipelineTest, ADestinationNeedsANameOfItsOwn) {
  for (const char* destination : {".", "..", "/", "x/..", "./"}) {
    const absl::Status status =
        Convert(TinyOptions("llama_tied", destination), TinyContext()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << destination << status;
  }
}

TEST(PipelineTest, WithoutEvaluationTensorsAreCheckedAsWell) {
  const TempFolder folder;
  // A vector of as many bytes in a type that no weight has.
  const size_t at = TinyWeights().find(R"("model.norm.weight":{"dtype":"F32")");
  ASSERT_NE(at, std::string::npos);
  const absl::Status type = ConvertAltered(folder, at, R"("model.norm.weight":{"dtype":"I32")");
  EXPECT_EQ(type.code(), absl::StatusCode::kInvalidArgument) << type;
  EXPECT_THAT(std::string(type.message()), HasSubstr("model.norm.weight"));
  EXPECT_EQ(folder.Count(), 1);
}

TEST(PipelineTest, AValueTooLargeForTheTypeIsNamed) {
  const TempFolder folder;
  // 1e5, finite in float32 and not in float16, as the last element of the last tensor.
  const absl::Status status = ConvertAltered(folder, TinyWeights().size() - 4,
                                             std::string("\x00\x50\xc3\x47", 4), DType::kF16);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("write a wider type"));
  EXPECT_EQ(folder.Count(), 1);
}

TEST(PipelineTest, SourcesThatCannotBeConvertedAreRefused) {
  const TempFolder folder;
  ConvertOptions options = TinyOptions("mla", folder.File("model"));
  const absl::Status latent = Convert(options, TinyContext()).status();
  EXPECT_EQ(latent.code(), absl::StatusCode::kInvalidArgument) << latent;
  EXPECT_THAT(std::string(latent.message()), HasSubstr("latent already"));
  options.source = folder.File("nowhere");
  EXPECT_EQ(Convert(options, TinyContext()).status().code(), absl::StatusCode::kNotFound);
  options = TinyOptions("llama_tied", folder.File("model"));
  options.kv_lora_rank = 2 * kTinyWidth;
  const absl::Status rank = Convert(options, TinyContext()).status();
  EXPECT_EQ(rank.code(), absl::StatusCode::kInvalidArgument) << rank;
  EXPECT_THAT(std::string(rank.message()), HasSubstr("kv_lora_rank is 64"));
  EXPECT_EQ(folder.Count(), 0);
}

TEST(PipelineTest, PlanSaysWhatWouldBeDone) {
  ConvertOptions options = TinyOptions("qwen2", "unused");
  const absl::StatusOr<ConversionReport> plan = PlanConversion(options);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->family, "qwen2");
  EXPECT_EQ(plan->cache_bytes_per_token_before, kSourceCacheBytes);
  EXPECT_EQ(plan->cache_bytes_per_token_after, kSourceCacheBytes / 2);
  options.kv_lora_rank = 0;  // half of the source's cache
  EXPECT_EQ(PlanConversion(options)->cache_bytes_per_token_after, kSourceCacheBytes / 2);
  options.recipe = Recipe::kBest;
  options.qk_rope_head_dim = 0;
  options.cache_ratio = 0.25;
  EXPECT_EQ(PlanConversion(options)->cache_bytes_per_token_after, kSourceCacheBytes / 4);
  EXPECT_EQ(PlanConversion(options)->qk_rope_head_dim, 4);
}

TEST(ConversionReportTest, AdvisesRealTextWhereTheModelWroteItsOwn) {
  ConversionReport report;
  report.calibration_tokens = 1;
  report.calibration_source = std::string(kSampledText);
  report.cache_bytes_per_token_before = 100;
  report.cache_bytes_per_token_after = 100;  // recipe equivalent: nothing is lost
  EXPECT_THAT(report.ToText(), ::testing::Not(HasSubstr("--text")));
  report.cache_bytes_per_token_after = 50;
  EXPECT_THAT(report.ToText(), HasSubstr("--text"));
  report.calibration_source = "files";
  EXPECT_THAT(report.ToText(), ::testing::Not(HasSubstr("--text")));
}

}  // namespace
}  // namespace transmla
