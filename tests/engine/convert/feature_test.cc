// Conversions of models with features beyond llama's: windows, soft caps, norms behind blocks and
// of heads, RoPE over part of a head, fused matrices. Each result, read from disk, against the
// logits that transformers gives for the source.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "engine/convert/loaded_model.h"
#include "engine/convert/pipeline.h"
#include "engine/convert/plan.h"
#include "engine/convert/sequence_runner.h"
#include "engine/format/checkpoint.h"
#include "tests/engine/convert/named_tokenizer.h"
#include "tests/engine/convert/tiny_conversion.h"
#include "tests/testing/golden_tensors.h"
#include "tests/testing/temp_folder.h"

namespace transmla {
namespace {

using testing::GoldenTensors;
using testing::TempFolder;
using testing::TinyContext;
using testing::TinyModel;
using testing::TinyOptions;
using testing::WithNamedTokenizer;

struct Source {
  const char* folder;
  const char* file = "";  // of a GGUF model
  OutputFormat format = OutputFormat::kTransMla;
};

class FeatureTest : public ::testing::TestWithParam<Source> {
 protected:
  std::string Path(const std::string& name) const {
    return TinyModel(absl::StrCat(GetParam().folder, "/", name));
  }
  ConvertOptions Options(Recipe recipe) const {
    ConvertOptions options = TinyOptions(GetParam().folder, folder_.File("model"));
    options.format = GetParam().format;
    const bool named = options.format == OutputFormat::kGguf && *GetParam().file == '\0';
    options.source = named ? WithNamedTokenizer(GetParam().folder, folder_) : Path(GetParam().file);
    options.recipe = recipe;
    options.qk_rope_head_dim = 0;
    options.kv_lora_rank = 0;
    return options;
  }
  ModelSpec SourceSpec() const {
    const auto checkpoint = OpenCheckpoint(Path(GetParam().file));
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
    const auto spec = ReadModelSpec(**checkpoint);
    EXPECT_TRUE(spec.ok()) << spec.status();
    return *spec;
  }
  // Largest difference of a logit between the model in `path` and transformers, relative to the
  // largest logit, over prompts of up to 33 tokens: windows are of 5.
  double DifferenceFromTransformers(const std::string& path) const {
    const auto checkpoint = OpenCheckpoint(path);
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
    auto model = LoadModel(
        TinyContext(), *checkpoint,
        {.max_tokens = 64, .max_sequences = 1, .max_logit_tokens = 64, .max_context_tokens = 64});
    EXPECT_TRUE(model.ok()) << model.status();
    if (!model.ok()) return INFINITY;
    std::ifstream file(Path("reference.json"));
    const auto prompts =
        nlohmann::json::parse(file).at("prompts").get<std::vector<std::vector<int32_t>>>();
    const GoldenTensors tensors(Path("reference.safetensors"));
    double largest = 0, difference = 0;
    for (size_t i = 0; i < prompts.size(); ++i) {
      auto runner = SequenceRunner::Create(*model->decoder, *model->backend, DType::kF32, 1, 64);
      EXPECT_TRUE(runner.ok()) << runner.status();
      const int tokens = static_cast<int>(prompts[i].size());
      const auto logits = runner->Run({{.tokens = prompts[i], .logits = tokens}});
      EXPECT_TRUE(logits.ok()) << logits.status();
      const std::vector<float> expected = tensors.Get<float>(absl::StrCat("logits.", i));
      EXPECT_EQ(logits->size(), expected.size());
      for (size_t j = 0; j < expected.size(); ++j) {
        const double d = std::abs(double{(*logits)[j]} - expected[j]);
        difference = d <= difference ? difference : d;  // NaN sticks
        largest = std::max(largest, std::abs(double{expected[j]}));
      }
    }
    return difference / largest;
  }

  const TempFolder folder_;
};

// Sums run in float32 in another order, through seven layers at most.
constexpr double kRounding = 1e-5;

TEST_P(FeatureTest, LosslessResultGivesTransformersLogits) {
  const ConvertOptions options = Options(Recipe::kEquivalent);
  const absl::StatusOr<ConversionReport> report = Convert(options, TinyContext());
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_LT(DifferenceFromTransformers(options.destination), kRounding);
  EXPECT_EQ(report->cache_bytes_per_token_after, report->cache_bytes_per_token_before);
}

// As wide as the source, every map of recipe best is exact, whatever its statistics say.
TEST_P(FeatureTest, BestAtFullSizeGivesTransformersLogits) {
  const GqaSpec gqa = SourceSpec().gqa;
  ConvertOptions options = Options(Recipe::kBest);
  options.qk_rope_head_dim = gqa.num_key_value_heads * gqa.head_dim;
  options.kv_lora_rank = options.qk_rope_head_dim;
  options.dtype = DType::kF32;
  const absl::StatusOr<ConversionReport> report = Convert(options, TinyContext());
  ASSERT_TRUE(report.ok()) << report.status();
  // Maps are products of float64 matrices, rounded once; those of queries are divided by roots of
  // energies.
  EXPECT_LT(DifferenceFromTransformers(options.destination), 10 * kRounding);
}

TEST_P(FeatureTest, ResultHasTheSourcesFeatures) {
  ConvertOptions options = Options(Recipe::kEquivalent);
  options.evaluation_sequences = 0;
  ASSERT_TRUE(Convert(options, TinyContext()).ok());
  const auto checkpoint = OpenCheckpoint(options.destination);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const auto result = ReadModelSpec(**checkpoint);
  ASSERT_TRUE(result.ok()) << result.status();
  const ModelSpec source = SourceSpec();
  EXPECT_EQ(result->attention, AttentionKind::kMla);
  EXPECT_EQ(result->sliding_window, source.sliding_window);
  EXPECT_EQ(result->attention_soft_cap, source.attention_soft_cap);
  EXPECT_EQ(result->final_soft_cap, source.final_soft_cap);
  EXPECT_EQ(result->post_norms, source.post_norms);
  EXPECT_EQ(result->qk_norm, source.qk_norm);
  EXPECT_EQ(result->activation, source.activation);
  EXPECT_EQ(result->embedding_scale, source.embedding_scale);
  EXPECT_EQ(result->moe.layers, source.moe.layers);
  EXPECT_EQ(result->source_cache_values, source.source_cache_values);
}

TEST_P(FeatureTest, RecipesHalveTheCache) {
  for (const Recipe recipe : {Recipe::kTransMla, Recipe::kBest}) {
    SCOPED_TRACE(RecipeName(recipe));
    ConvertOptions options = Options(recipe);
    options.overwrite = true;
    const absl::StatusOr<ConversionReport> report = Convert(options, TinyContext());
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_EQ(2 * report->cache_bytes_per_token_after, report->cache_bytes_per_token_before);
    ASSERT_TRUE(report->quality.has_value());
    EXPECT_GT(report->quality->kl_divergence, 0);
    EXPECT_TRUE(std::isfinite(report->quality->perplexity_after));
    // The result runs as it was measured, and is not the source by mistake.
    const double difference = DifferenceFromTransformers(options.destination);
    EXPECT_GT(difference, 100 * kRounding);
    EXPECT_TRUE(std::isfinite(difference));
  }
}

INSTANTIATE_TEST_SUITE_P(Models, FeatureTest,
                         ::testing::Values(Source{"mistral"}, Source{"mistral_gguf", "model.gguf"},
                                           Source{"qwen3"}, Source{"qwen3_biased"},
                                           Source{"qwen3_gguf", "model.gguf"}, Source{"qwen3_moe"},
                                           Source{"qwen3_moe_stepped"},
                                           Source{"qwen3_moe_gguf", "model.gguf"}, Source{"phi3"},
                                           Source{"phi3_gguf", "model.gguf"},
                                           Source{"phi3_longrope"},
                                           Source{"phi3_longrope_gguf", "model.gguf"},
                                           Source{"gemma2"}, Source{"gemma2_gguf", "model.gguf"},
                                           Source{"gemma3"}, Source{"gemma3_gguf", "model.gguf"}),
                         [](const auto& tested) { return std::string(tested.param.folder); });

INSTANTIATE_TEST_SUITE_P(
    AsGguf, FeatureTest,
    ::testing::Values(
        Source{"mistral_gguf", "model.gguf", OutputFormat::kGguf},
        Source{"qwen3_gguf", "model.gguf", OutputFormat::kGguf},
        Source{"qwen3_moe_gguf", "model.gguf", OutputFormat::kGguf},
        Source{"phi3_gguf", "model.gguf", OutputFormat::kGguf},
        Source{"phi3_longrope_gguf", "model.gguf", OutputFormat::kGguf},
        Source{"gemma2_gguf", "model.gguf", OutputFormat::kGguf},
        Source{"gemma3_gguf", "model.gguf", OutputFormat::kGguf},
        Source{"llama_tied", "", OutputFormat::kGguf},
        Source{"llama_untied_scaled_sharded", "", OutputFormat::kGguf},
        Source{"mimo", "", OutputFormat::kGguf}, Source{"mistral", "", OutputFormat::kGguf},
        Source{"mixtral", "", OutputFormat::kGguf}, Source{"qwen2", "", OutputFormat::kGguf},
        Source{"qwen3", "", OutputFormat::kGguf}, Source{"qwen3_moe", "", OutputFormat::kGguf},
        Source{"qwen3_moe_stepped", "", OutputFormat::kGguf},
        Source{"phi3", "", OutputFormat::kGguf}, Source{"phi3_longrope", "", OutputFormat::kGguf},
        Source{"gemma2", "", OutputFormat::kGguf}, Source{"gemma3", "", OutputFormat::kGguf}),
    [](const auto& tested) { return std::string(tested.param.folder); });

// What is written after training is what was trained.
class FeatureRecoveryTest : public FeatureTest {};

TEST_P(FeatureRecoveryTest, BringsTheResultNearer) {
  ConvertOptions options = Options(Recipe::kBest);
  options.dtype = DType::kF32;
  options.overwrite = true;
  options.evaluation_sequences = 8;
  std::vector<double> divergence;
  for (const int64_t tokens : {0, 20'000}) {
    options.recovery_tokens = tokens;
    options.recovery_learning_rate = 1e-2;
    const absl::StatusOr<ConversionReport> report = Convert(options, TinyContext());
    ASSERT_TRUE(report.ok()) << report.status();
    ASSERT_TRUE(report->quality.has_value());
    divergence.push_back(report->quality->kl_divergence);
  }
  EXPECT_LT(divergence[1], 0.9 * divergence[0]);
}

INSTANTIATE_TEST_SUITE_P(Models, FeatureRecoveryTest,
                         ::testing::Values(Source{"mistral"}, Source{"qwen3_biased"},
                                           Source{"qwen3_moe"}, Source{"gemma2"},
                                           Source{"gemma3_gguf", "model.gguf"}),
                         [](const auto& tested) { return std::string(tested.param.folder); });

// Keys that need no RoPE go through the latent, centred where that is allowed: with a base so large
// that all pairs but four turn by nothing to speak of, nothing is lost. Soft caps would see a
// centre.
TEST(SlowPairsTest, GoThroughTheLatentUnchanged) {
  for (const char* model : {"gemma2", "qwen3", "phi3"}) {
    SCOPED_TRACE(model);
    const TempFolder folder;
    ConvertOptions options = TinyOptions(model, folder.File("model"));
    std::filesystem::copy(options.source, folder.File("source"));
    options.source = folder.File("source");
    const std::string config = folder.Read("source/config.json");
    const std::string slow = absl::StrReplaceAll(
        config, {{"\"rope_theta\": 10000.0", "\"rope_theta\": 1000000000000.0"}});
    ASSERT_NE(slow, config);
    folder.Write("source/config.json", slow);
    options.recipe = Recipe::kBest;
    options.qk_rope_head_dim = 16;  // of two heads
    options.kv_lora_rank = 2 * 28 - 16;
    options.dtype = DType::kF32;
    const absl::StatusOr<ConversionReport> report = Convert(options, TinyContext());
    ASSERT_TRUE(report.ok()) << report.status();
    ASSERT_TRUE(report->quality.has_value());
    // The fifth pair turns by 5e-6 over the 40 positions; logits are about 10.
    EXPECT_LT(report->quality->max_logit_difference, 2e-3);
    EXPECT_EQ(report->quality->greedy_agreement, 1);
  }
}

TEST(NormedQueriesTest, RefuseALowRank) {
  ConvertOptions options = TinyOptions("qwen3", "unused");
  options.recipe = Recipe::kBest;
  options.q_lora_rank = 20;
  const absl::Status status = PlanConversion(options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("norms heads of queries"));
}

}  // namespace
}  // namespace transmla
