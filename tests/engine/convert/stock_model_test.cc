#include "engine/convert/stock_model.h"

#include <cmath>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "engine/base/random.h"
#include "engine/model/rope.h"

namespace transmla {
namespace {

Config WithTheta(double theta) {
  Config config;
  config.rope_theta = theta;
  config.max_position_embeddings = 512;
  return config;
}

std::vector<float> Frequencies(const Config& config, int rotary_dim) {
  const absl::StatusOr<Rope> rope =
      MakeRope(rotary_dim, config.rope_theta, config.rope_scaling, config.max_position_embeddings);
  EXPECT_TRUE(rope.ok()) << rope.status();
  return rope.ok() ? rope->inv_freq : std::vector<float>();
}

TEST(StockModelTest, ThetaAloneWhereItIsEnough) {
  Config config = WithTheta(10000);
  config.rope_scaling = RopeScaling{.type = "llama3"};  // the source's, which is in the frequencies
  // Every second frequency of 16 dimensions.
  const std::vector<float> all = Frequencies(WithTheta(10000), 16);
  SetFrequencies({all[0], all[2], all[4], all[6]}, config);
  EXPECT_EQ(config.rope_theta, 10000);
  EXPECT_FALSE(config.rope_scaling.has_value());
}

// 1 / factor in float32, which is what transformers computes, misses by at most half the spacing
// of reciprocals: twice that of floats.
TEST(StockModelTest, OtherFrequenciesAreFactors) {
  Random random(3);
  std::vector<float> inv_freq = {1, 1, 0.1f, 3e-6f};
  for (int i = 0; i < 1000; ++i)
    inv_freq.push_back(static_cast<float>(std::exp(-12 * random.Uniform())));
  Config config = WithTheta(10000);
  SetFrequencies(inv_freq, config);
  ASSERT_TRUE(config.rope_scaling.has_value());
  EXPECT_EQ(config.rope_scaling->type, "longrope");
  EXPECT_EQ(config.rope_scaling->attention_factor, 1);
  EXPECT_EQ(config.rope_scaling->short_factor, config.rope_scaling->long_factor);
  const std::vector<float> read = Frequencies(config, static_cast<int>(2 * inv_freq.size()));
  int exact = 0;
  for (size_t t = 0; t < inv_freq.size(); ++t) {
    const double factor = config.rope_scaling->short_factor[t];
    EXPECT_EQ(factor, static_cast<float>(factor));
    EXPECT_EQ(read[t], 1 / static_cast<float>(factor));
    EXPECT_NEAR(read[t], inv_freq[t], 0x1p-23 * inv_freq[t]) << t;
    exact += read[t] == inv_freq[t];
  }
  EXPECT_GT(exact, 700);
}

TEST(StockModelTest, WhatStandsStillTurnsByLessThanAnyRounding) {
  Config config = WithTheta(10000);
  SetFrequencies({1.0f, 0.0f}, config);
  ASSERT_TRUE(config.rope_scaling.has_value());
  const std::vector<float> read = Frequencies(config, 4);
  EXPECT_EQ(read[0], 1.0f);
  EXPECT_LT(read[1], 1e-29f);
}

TEST(StockModelTest, EveryFeatureIsRefusedByItself) {
  const std::pair<void (*)(ModelSpec&), const char*> cases[] = {
      {[](ModelSpec& s) { s.qk_norm = true; }, "norms of queries and keys"},
      {[](ModelSpec& s) {
         s.sliding_window = {0, 7};
       },
       "sliding window"},
      {[](ModelSpec& s) { s.attention_soft_cap = 50; }, "caps on attention"},
      {[](ModelSpec& s) { s.final_soft_cap = 30; }, "caps on logits"},
      {[](ModelSpec& s) { s.post_norms = true; }, "norms behind"},
      {[](ModelSpec& s) { s.activation = Activation::kGeluTanh; }, "activation"},
      {[](ModelSpec& s) { s.embedding_scale = 8; }, "embeddings"},
  };
  for (const auto& [change, wanted] : cases) {
    ModelSpec spec;
    spec.family = "gemma2";
    change(spec);
    const absl::Status status = CheckStockFormat(spec);
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << wanted;
    EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr(wanted));
  }
}

TEST(StockModelTest, WhatTheirCodeLacksIsNamed) {
  ModelSpec spec;
  spec.family = "mixtral";
  spec.inv_freq = {{1, 0.5f}, {1, 0.5f}};
  EXPECT_TRUE(CheckStockFormat(spec).ok());
  spec.moe.num_experts = 8;
  absl::Status status = CheckStockFormat(spec);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("mixtral model has experts"));
  spec.moe.num_experts = 0;
  spec.inv_freq[1][0] = 0.9f;
  status = CheckStockFormat(spec);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("different frequencies"));
}

}  // namespace
}  // namespace transmla
