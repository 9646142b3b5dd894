// The lossless conversion of real models: logits and cache beside the source's.
#include <filesystem>
#include <string>

#include "gtest/gtest.h"

#include "engine/backend/cpu/create.h"
#include "engine/convert/pipeline.h"
#include "tests/testing/real_models.h"
#include "tests/testing/temp_folder.h"

namespace transmla {
namespace {

void ConvertEquivalently(absl::string_view file, double max_logit_difference,
                         OutputFormat format = OutputFormat::kTransMla) {
  const testing::TempFolder folder;
  ConvertOptions options;
  options.source = testing::RealModelPath(file);
  options.destination = folder.File("model");
  options.recipe = Recipe::kEquivalent;
  options.format = format;
  options.evaluation_sequences = 2;
  options.evaluation_length = 96;
  ConversionContext context;
  context.make_backend = [] { return CreateCpuBackend({}); };
  const absl::StatusOr<ConversionReport> report = Convert(options, context);
  ASSERT_TRUE(report.ok()) << report.status();
  GTEST_LOG_(INFO) << report->ToText();
  EXPECT_LE(report->cache_bytes_per_token_after, report->cache_bytes_per_token_before);
  ASSERT_TRUE(report->quality.has_value());
  EXPECT_LT(report->quality->max_logit_difference, max_logit_difference);
  EXPECT_EQ(report->quality->greedy_agreement, 1);
}

// Logits are up to about 30. The bounds are a few times what float32 sums in another order give.
TEST(ModelTest, EquivalentSmolLm2GivesTheSourcesLogits) {
  ASSERT_TRUE(std::filesystem::exists(testing::RealModelPath(testing::kSmolLm2)))
      << "run scripts/fetch-models";
  ConvertEquivalently(testing::kSmolLm2, 1e-3);
}

// What is not attention is still quantised.
TEST(ModelTest, EquivalentSmolLm2AsGgufGivesTheSourcesLogits) {
  ASSERT_TRUE(std::filesystem::exists(testing::RealModelPath(testing::kSmolLm2)))
      << "run scripts/fetch-models";
  ConvertEquivalently(testing::kSmolLm2, 1e-3, OutputFormat::kGguf);
}

// Its attention has biases, and its feed-forward weights are of several types.
TEST(ModelTest, EquivalentQwenAsGgufGivesTheSourcesLogits) {
  if (!std::filesystem::exists(testing::RealModelPath(testing::kQwen)))
    GTEST_SKIP() << "run scripts/fetch-models qwen";
  ConvertEquivalently(testing::kQwen, 5e-3, OutputFormat::kGguf);
}

TEST(ModelTest, EquivalentQwenGivesTheSourcesLogits) {
  if (!std::filesystem::exists(testing::RealModelPath(testing::kQwen)))
    GTEST_SKIP() << "run scripts/fetch-models qwen";
  ConvertEquivalently(testing::kQwen, 5e-3);
}

}  // namespace
}  // namespace transmla
