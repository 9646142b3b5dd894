#include "engine/convert/key_components.h"

#include <cmath>
#include <limits>

#include "gtest/gtest.h"

#include "engine/convert/latent_layer.h"
#include "tests/engine/convert/attention_reference.h"

namespace transmla {
namespace {

using testing::Gram;
using testing::Project;
using testing::RandomMatrix;

constexpr int kHidden = 24, kTokens = 13, kSamples = 200;
constexpr GqaSpec kGqa{.num_attention_heads = 6, .num_key_value_heads = 3, .head_dim = 8};
constexpr int kWidth = 24;

struct Moments {
  Matrix keys;
  std::vector<Matrix> queries;
};

Matrix Mean(Matrix gram) {
  for (double& value : gram.values()) value /= kSamples;
  return gram;
}

Moments MomentsOf(const GqaWeights& source) {
  Random random(9);
  const Matrix x = RandomMatrix(kSamples, kHidden, random);
  Moments moments{.keys = Mean(Gram(Project(x, source.k, source.k_bias))), .queries = {}};
  const Matrix q = Project(x, source.q, source.q_bias);
  for (int head = 0; head < kGqa.num_attention_heads; ++head) {
    const ConstMatrixView part = q.block(0, head * 8, kSamples, 8);
    moments.queries.push_back(Mean(Multiply(part, Transpose::kYes, part, Transpose::kNo)));
  }
  return moments;
}

absl::StatusOr<std::vector<KeyComponent>> Decompose(const Moments& moments,
                                                    const std::vector<float>& inv_freq) {
  return DecomposeKeys({.gqa = kGqa,
                        .key_moment = &moments.keys,
                        .query_moments = moments.queries,
                        .inv_freq = inv_freq,
                        .max_distance = 64});
}

LatentLayerPlan PlanOf(KeyMaps maps, int rope) {
  LatentLayerPlan plan;
  plan.source = kGqa;
  plan.query_scale = std::sqrt(1 + rope / 8.0);
  plan.qk_rope_head_dim = rope;
  plan.key_map = std::move(maps.key_map);
  plan.query_map = std::move(maps.query_map);
  plan.inv_freq = std::move(maps.inv_freq);
  return plan;
}

Matrix LatentAttentionOf(const GqaWeights& source, const LatentLayerPlan& plan, const Matrix& x) {
  return testing::LatentAttention(BuildLatentLayer(source, plan),
                                  {.num_attention_heads = 6,
                                   .kv_lora_rank = 2 * kWidth - plan.qk_rope_head_dim,
                                   .qk_nope_head_dim = 8,
                                   .qk_rope_head_dim = plan.qk_rope_head_dim,
                                   .v_head_dim = 8},
                                  x, 1 / std::sqrt(8.0 + plan.qk_rope_head_dim));
}

class KeyComponentsTest : public ::testing::TestWithParam<bool> {};

// Several heads, RoPE kept on everything: the maps commute with it, and nothing changes.
TEST_P(KeyComponentsTest, AllComponentsWithRopeAreTheSource) {
  const GqaWeights source = testing::RandomGqa(kGqa, kHidden, GetParam(), 5);
  const std::vector<float> inv_freq = testing::DefaultFrequencies(8);
  const absl::StatusOr<std::vector<KeyComponent>> components =
      Decompose(MomentsOf(source), inv_freq);
  ASSERT_TRUE(components.ok()) << components.status();
  Random random(4);
  const Matrix x = RandomMatrix(kTokens, kHidden, random);
  const Matrix wanted = testing::GqaAttention(source, kGqa, inv_freq, x, 1 / std::sqrt(8.0));
  const LatentLayerPlan plan = PlanOf(MakeKeyMaps(*components, kGqa, inv_freq, kWidth), kWidth);
  EXPECT_LT(testing::MaxDifference(LatentAttentionOf(source, plan, x), wanted), 1e-9);
}

// Without positions it does not matter which of them keep RoPE.
TEST_P(KeyComponentsTest, WithoutPositionsEveryChoiceIsTheSource) {
  const GqaWeights source = testing::RandomGqa(kGqa, kHidden, GetParam(), 6);
  const std::vector<float> inv_freq(4, 0.0f);
  const absl::StatusOr<std::vector<KeyComponent>> components =
      Decompose(MomentsOf(source), inv_freq);
  ASSERT_TRUE(components.ok()) << components.status();
  Random random(4);
  const Matrix x = RandomMatrix(kTokens, kHidden, random);
  const Matrix wanted = testing::GqaAttention(source, kGqa, inv_freq, x, 1 / std::sqrt(8.0));
  for (const int rope : {2, 6, 20}) {
    const LatentLayerPlan plan = PlanOf(MakeKeyMaps(*components, kGqa, inv_freq, rope), rope);
    EXPECT_LT(testing::MaxDifference(LatentAttentionOf(source, plan, x), wanted), 1e-9) << rope;
  }
}

// Components of a pair are uncorrelated, their energies those of the mapped keys times the mapped
// queries', and the costliest come first.
TEST(KeyComponentsDetailTest, EnergiesAreSharesOfTheScores) {
  const GqaWeights source = testing::RandomGqa(kGqa, kHidden, false, 7);
  const std::vector<float> inv_freq = testing::DefaultFrequencies(8);
  const Moments moments = MomentsOf(source);
  const absl::StatusOr<std::vector<KeyComponent>> components = Decompose(moments, inv_freq);
  ASSERT_TRUE(components.ok()) << components.status();
  ASSERT_EQ(components->size(), kWidth / 2);
  const KeyMaps maps = MakeKeyMaps(*components, kGqa, inv_freq, 6);
  const Matrix mapped =
      Multiply(Multiply(maps.key_map, moments.keys), Transpose::kNo, maps.key_map, Transpose::kYes);
  double sum = 0, total = 0;
  for (int c = 0; c < kWidth / 2; ++c) {
    const KeyComponent& component = (*components)[c];
    EXPECT_NEAR(mapped(2 * c, 2 * c) + mapped(2 * c + 1, 2 * c + 1), component.energy,
                1e-9 * component.energy);
    EXPECT_NEAR(component.rope_cost, component.energy * RopeCost(inv_freq[component.pair], 64),
                1e-12 * component.rope_cost);
    if (c > 0) {
      EXPECT_GE((*components)[c - 1].rope_cost, component.rope_cost);
    }
    for (int other = 0; other < c; ++other) {
      if ((*components)[other].pair != component.pair) continue;
      // Re and Im of E[a·conj(b)].
      EXPECT_NEAR(mapped(2 * c, 2 * other) + mapped(2 * c + 1, 2 * other + 1), 0, 1e-9);
      EXPECT_NEAR(mapped(2 * c + 1, 2 * other) - mapped(2 * c, 2 * other + 1), 0, 1e-9);
    }
    sum += component.energy;
  }
  // Σ over pairs and groups of the energy of the group's queries times that of its keys.
  for (int pair = 0; pair < 4; ++pair) {
    for (int head = 0; head < 6; ++head) {
      const int at = head / 2 * 8 + pair;
      const Matrix& query = moments.queries[head];
      total += (query(pair, pair) + query(pair + 4, pair + 4)) *
               (moments.keys(at, at) + moments.keys(at + 4, at + 4));
    }
  }
  EXPECT_NEAR(sum, total, 1e-9 * total);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(maps.inv_freq[i], inv_freq[(*components)[i].pair]);
}

// Heads that nobody asks, or no head at all: no division by zero.
TEST(KeyComponentsDetailTest, QueriesOfZeroAreNoError) {
  const GqaWeights source = testing::RandomGqa(kGqa, kHidden, false, 8);
  const std::vector<float> inv_freq = testing::DefaultFrequencies(8);
  for (const int silent : {1, 6}) {
    Moments moments = MomentsOf(source);
    for (int head = 0; head < silent; ++head) moments.queries[head] = Matrix(8, 8);
    const absl::StatusOr<std::vector<KeyComponent>> components = Decompose(moments, inv_freq);
    ASSERT_TRUE(components.ok()) << components.status();
    const KeyMaps maps = MakeKeyMaps(*components, kGqa, inv_freq, 6);
    EXPECT_LT(testing::MaxDifference(
                  Multiply(maps.query_map, Transpose::kYes, maps.key_map, Transpose::kNo),
                  Matrix::Identity(kWidth)),
              1e-9);
  }
}

TEST(KeyComponentsDetailTest, NotFiniteIsAnError) {
  Moments moments = MomentsOf(testing::RandomGqa(kGqa, kHidden, false, 8));
  moments.keys(3, 3) = std::numeric_limits<double>::infinity();
  EXPECT_EQ(Decompose(moments, testing::DefaultFrequencies(8)).status().code(),
            absl::StatusCode::kDataLoss);
}

TEST(RopeCostTest, GrowsWithTheFrequencyUpToTwo) {
  EXPECT_EQ(RopeCost(0, 100), 0);
  EXPECT_LT(RopeCost(1e-4f, 100), 1e-3);
  EXPECT_LT(RopeCost(1e-3f, 100), RopeCost(1e-2f, 100));
  // Turning fast, the mean of 2 − 2·cos is 2.
  EXPECT_NEAR(RopeCost(2.0f, 5000), 2, 0.1);
  EXPECT_NEAR(RopeCost(0.5f, 1), 2 - 2 * std::cos(0.5), 1e-12);
}

INSTANTIATE_TEST_SUITE_P(Biases, KeyComponentsTest, ::testing::Bool());

}  // namespace
}  // namespace transmla
