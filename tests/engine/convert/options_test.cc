#include "engine/convert/options.h"

#include <limits>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace transmla {
namespace {

using ::testing::HasSubstr;

// SmolLM2-135M's attention: 384 values a token and layer.
ModelSpec Smol() {
  ModelSpec spec;
  spec.attention = AttentionKind::kGqa;
  spec.gqa = {.num_attention_heads = 9, .num_key_value_heads = 3, .head_dim = 64};
  spec.max_context_tokens = 8192;
  return spec;
}

std::pair<int, int> ShapeOf(const ConvertOptions& options) {
  const absl::StatusOr<ConvertOptions> resolved = ResolveOptions(options, Smol());
  EXPECT_TRUE(resolved.ok()) << resolved.status();
  if (!resolved.ok()) return {};
  return {resolved->qk_rope_head_dim, resolved->kv_lora_rank};
}

TEST(OptionsTest, NothingSaidIsHalfTheCache) {
  EXPECT_EQ(ShapeOf({.recipe = Recipe::kTransMla}), std::pair(64, 128));
  EXPECT_EQ(ShapeOf({.recipe = Recipe::kBest}), std::pair(48, 144));
  EXPECT_EQ(ShapeOf({.recipe = Recipe::kEquivalent}), std::pair(0, 0));
}

// The published recipe's shapes at the ratios of its authors' code.
TEST(OptionsTest, ARatioGivesTheShape) {
  const auto published = [](double ratio) {
    return ShapeOf({.recipe = Recipe::kTransMla, .cache_ratio = ratio});
  };
  EXPECT_EQ(published(1), std::pair(64, 320));
  EXPECT_EQ(published(1.0 / 3), std::pair(32, 96));
  EXPECT_EQ(published(0.25), std::pair(32, 64));
  EXPECT_EQ(published(0.125), std::pair(16, 32));
  const auto best = [](double ratio) {
    return ShapeOf({.recipe = Recipe::kBest, .cache_ratio = ratio});
  };
  EXPECT_EQ(best(1), std::pair(96, 288));
  EXPECT_EQ(best(0.25), std::pair(24, 72));
  EXPECT_EQ(best(0.125), std::pair(12, 36));
}

TEST(OptionsTest, WhatIsGivenStays) {
  EXPECT_EQ(ShapeOf({.recipe = Recipe::kBest, .qk_rope_head_dim = 64}), std::pair(64, 128));
  EXPECT_EQ(ShapeOf({.recipe = Recipe::kBest, .qk_rope_head_dim = 10, .kv_lora_rank = 7}),
            std::pair(10, 7));
  EXPECT_EQ(ShapeOf({.recipe = Recipe::kBest, .qk_rope_head_dim = 192, .kv_lora_rank = 192}),
            std::pair(192, 192));
  EXPECT_EQ(ShapeOf({.recipe = Recipe::kTransMla, .kv_lora_rank = 100}), std::pair(64, 100));
}

// What is asked for is what is cached, the constant of format deepseek-v3 included.
TEST(OptionsTest, TheFormatDoesNotChangeTheShape) {
  const ConvertOptions options{.recipe = Recipe::kBest, .format = OutputFormat::kDeepseekV3};
  EXPECT_EQ(ShapeOf(options), std::pair(48, 144));
  EXPECT_TRUE(ResolveOptions(options, Smol())->shared_frequencies);
  EXPECT_FALSE(ResolveOptions({.recipe = Recipe::kBest}, Smol())->shared_frequencies);
  EXPECT_EQ(ShapeOf({.recipe = Recipe::kBest,
                     .qk_rope_head_dim = 64,
                     .kv_lora_rank = 321,
                     .format = OutputFormat::kDeepseekV3}),
            std::pair(64, 321));
}

TEST(OptionsTest, TextIsNamedOrAskedFor) {
  EXPECT_TRUE(CheckTextIsNamed({.recipe = Recipe::kEquivalent}).ok());
  EXPECT_TRUE(CheckTextIsNamed({.recipe = Recipe::kBest, .text_files = {"a"}}).ok());
  EXPECT_TRUE(CheckTextIsNamed({.recipe = Recipe::kTransMla, .sample_text = true}).ok());
  const absl::Status none = CheckTextIsNamed({.recipe = Recipe::kBest});
  EXPECT_EQ(none.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(none.message()), HasSubstr("--sample-text"));
  const absl::Status both =
      CheckTextIsNamed({.recipe = Recipe::kBest, .text_files = {"a"}, .sample_text = true});
  EXPECT_EQ(both.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(both.message()), HasSubstr("give one of them"));
}

TEST(OptionsTest, WhatCannotBeIsNamed) {
  const std::pair<ConvertOptions, const char*> cases[] = {
      {{.recipe = Recipe::kBest, .kv_lora_rank = 9, .cache_ratio = 0.5}, "give one of them"},
      {{.cache_ratio = -0.5}, "cache_ratio is -0.5"},
      {{.recovery_tokens = -1}, "recovery_tokens is -1"},
      {{.recipe = Recipe::kEquivalent, .recovery_tokens = 512}, "equivalent loses nothing"},
      {{.recovery_tokens = 512, .recovery_learning_rate = 0}, "recovery_learning_rate is 0"},
      {{.cache_ratio = 1.01}, "cache_ratio is 1.01"},
      {{.cache_ratio = std::numeric_limits<double>::quiet_NaN()}, "cache_ratio is nan"},
      {{.recipe = Recipe::kBest, .cache_ratio = 0.001}, "is filled by a qk_rope_head_dim of 2"},
      {{.recipe = Recipe::kBest, .qk_rope_head_dim = 64, .cache_ratio = 0.1}, "0.1, 38 values"},
      {{.recipe = Recipe::kBest, .qk_rope_head_dim = 7}, "must be even"},
      {{.recipe = Recipe::kBest, .qk_rope_head_dim = 194}, "qk_rope_head_dim is 194"},
      {{.recipe = Recipe::kBest, .qk_rope_head_dim = 64, .kv_lora_rank = 321},
       "kv_lora_rank is 321"},
      {{.recipe = Recipe::kTransMla, .qk_rope_head_dim = 192, .kv_lora_rank = 9},
       "qk_rope_head_dim"},
      {{.kv_lora_rank = 1, .format = OutputFormat::kDeepseekV3}, "kv_lora_rank is 1"},
      {{.q_lora_rank = 1, .format = OutputFormat::kDeepseekV3}, "q_lora_rank is 1"},
      {{.recipe = Recipe::kEquivalent, .format = OutputFormat::kDeepseekV3, .dtype = DType::kF16},
       "dtype is f16"},
      {{.recipe = Recipe::kBest, .freqfold = 2}, "folds no frequencies"},
      {{.recipe = Recipe::kBest, .balance_kv_ratio = 0}, "balance_kv_ratio is 0"},
  };
  for (const auto& [options, wanted] : cases) {
    const absl::Status status = ResolveOptions(options, Smol()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << wanted;
    EXPECT_THAT(std::string(status.message()), HasSubstr(wanted));
  }
}

}  // namespace
}  // namespace transmla
