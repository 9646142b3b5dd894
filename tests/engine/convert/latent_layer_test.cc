#include "engine/convert/latent_layer.h"

#include <cmath>

#include "gtest/gtest.h"

#include "engine/convert/compress.h"
#include "engine/convert/rotate.h"
#include "engine/linalg/symmetric_eigen.h"
#include "tests/engine/convert/attention_reference.h"

namespace transmla {
namespace {

using testing::Gram;

constexpr int kHidden = 24;
constexpr int kTokens = 11;

ModelSpec SpecOf(const GqaSpec& gqa) {
  ModelSpec spec;
  spec.gqa = gqa;
  spec.attention_scale = static_cast<float>(1 / std::sqrt(gqa.head_dim));
  return spec;
}

LatentLayerPlan PlanFor(const GqaSpec& gqa, const GqaWeights& source, int rope, int freqfold) {
  Random random(3);
  const Matrix x = testing::RandomMatrix(200, kHidden, random);
  const RotationShape shape{gqa.num_key_value_heads, gqa.head_dim, rope, freqfold};
  LatentLayerPlan plan;
  plan.source = gqa;
  plan.query_scale = QueryScale(SpecOf(gqa), rope);
  plan.qk_rope_head_dim = rope;
  plan.key_map = *RopeRotation(Gram(testing::Project(x, source.k, source.k_bias)), shape);
  plan.query_map = plan.key_map;
  plan.inv_freq = KeptFrequencies(testing::DefaultFrequencies(gqa.head_dim), shape);
  return plan;
}

MlaSpec MlaOf(const LatentLayerPlan& plan) {
  return {.num_attention_heads = plan.source.num_attention_heads,
          .q_lora_rank = static_cast<int>(plan.query_basis.cols()),
          .kv_lora_rank = plan.latent.encoder.empty()
                              ? static_cast<int>(2 * plan.key_map.rows()) - plan.qk_rope_head_dim
                              : static_cast<int>(plan.latent.encoder.rows()),
          .qk_nope_head_dim = plan.source.head_dim,
          .qk_rope_head_dim = plan.qk_rope_head_dim,
          .v_head_dim = plan.source.head_dim};
}

Matrix Attention(const LatentWeights& weights, const LatentLayerPlan& plan, const Matrix& x) {
  return testing::LatentAttention(
      weights, MlaOf(plan), x,
      1 / std::sqrt(static_cast<double>(plan.source.head_dim + plan.qk_rope_head_dim)));
}

Matrix Inputs() {
  Random random(4);
  return testing::RandomMatrix(kTokens, kHidden, random);
}

class LatentLayerTest : public ::testing::TestWithParam<bool> {};

// One key/value head, RoPE kept on all its dimensions, nothing compressed: only rounding is left.
TEST_P(LatentLayerTest, FullRankWithAllOfRopeIsTheSource) {
  const GqaSpec gqa{.num_attention_heads = 4, .num_key_value_heads = 1, .head_dim = 8};
  const GqaWeights source = testing::RandomGqa(gqa, kHidden, GetParam(), 5);
  const LatentLayerPlan plan = PlanFor(gqa, source, 8, 1);
  const Matrix x = Inputs();
  const Matrix wanted = testing::GqaAttention(source, gqa, testing::DefaultFrequencies(8), x,
                                              SpecOf(gqa).attention_scale);
  EXPECT_LT(testing::MaxDifference(Attention(BuildLatentLayer(source, plan), plan, x), wanted),
            1e-9);
}

// Several heads: without any RoPE (all frequencies zero) every rotation is exact.
TEST_P(LatentLayerTest, RotationAndFullRankLoseNothingWithoutPositions) {
  const GqaSpec gqa{.num_attention_heads = 6, .num_key_value_heads = 3, .head_dim = 8};
  const GqaWeights source = testing::RandomGqa(gqa, kHidden, GetParam(), 6);
  for (const auto& [rope, freqfold] : {std::pair{8, 2}, std::pair{4, 4}, std::pair{2, 4}}) {
    LatentLayerPlan plan = PlanFor(gqa, source, rope, freqfold);
    plan.inv_freq.assign(rope / 2, 0);
    const Matrix x = Inputs();
    const Matrix wanted = testing::GqaAttention(source, gqa, std::vector<float>(4, 0), x,
                                                SpecOf(gqa).attention_scale);
    EXPECT_LT(testing::MaxDifference(Attention(BuildLatentLayer(source, plan), plan, x), wanted),
              1e-9)
        << rope;
  }
}

// YaRN multiplies queries and keys by a magnitude m: all of the source's scores, but only the rope
// part of the converted model's.
TEST_P(LatentLayerTest, AMagnitudeOfRopeReachesThePositionFreeScores) {
  constexpr double kMagnitude = 1.3;
  const GqaSpec gqa{.num_attention_heads = 6, .num_key_value_heads = 3, .head_dim = 8};
  const GqaWeights source = testing::RandomGqa(gqa, kHidden, GetParam(), 6);
  LatentLayerPlan plan = PlanFor(gqa, source, 4, 4);
  plan.inv_freq.assign(2, 0);
  plan.nope_scale = kMagnitude * kMagnitude;
  LatentWeights weights = BuildLatentLayer(source, plan);
  // What the cache write does with the magnitude.
  const auto scale_row = [&](Matrix& matrix, std::vector<double>& bias, int64_t row) {
    for (double& value : matrix.row(row)) value *= kMagnitude;
    if (!bias.empty()) bias[row] *= kMagnitude;
  };
  for (int head = 0; head < 6; ++head)
    for (int i = 0; i < 4; ++i) scale_row(weights.q, weights.q_bias, head * 12 + 8 + i);
  for (int i = 0; i < 4; ++i)
    scale_row(weights.kv_a, weights.kv_a_bias, weights.kv_a.rows() - 4 + i);
  const Matrix x = Inputs();
  const Matrix wanted =
      testing::GqaAttention(source, gqa, std::vector<float>(4, 0), x,
                            SpecOf(gqa).attention_scale * kMagnitude * kMagnitude);
  EXPECT_LT(testing::MaxDifference(Attention(weights, plan, x), wanted), 1e-9);
}

// A compressed latent of full rank, balanced, is the uncompressed one.
TEST_P(LatentLayerTest, FullRankLatentIsTheUncompressedOne) {
  const GqaSpec gqa{.num_attention_heads = 6, .num_key_value_heads = 3, .head_dim = 8};
  const GqaWeights source = testing::RandomGqa(gqa, kHidden, GetParam(), 7);
  LatentLayerPlan plan = PlanFor(gqa, source, 4, 2);
  const Matrix x = Inputs();
  const LatentWeights whole = BuildLatentLayer(source, plan);
  const Matrix wanted = Attention(whole, plan, x);

  const Matrix latents = testing::Project(x, whole.kv_a, whole.kv_a_bias);
  const int64_t width = whole.kv_a.rows() - 4;
  Matrix z(x.rows(), width);
  for (int64_t t = 0; t < x.rows(); ++t)
    for (int64_t j = 0; j < width; ++j) z(t, j) = latents(t, j);
  const auto compressed = [&](int64_t rank) {
    return MakeLatentMap(
        *CompressKeysAndValues(Gram(z), {.key_width = 20, .kv_lora_rank = static_cast<int>(rank)}),
        20);
  };
  plan.latent = compressed(width);
  EXPECT_LT(testing::MaxDifference(Attention(BuildLatentLayer(source, plan), plan, x), wanted),
            1e-9);

  // As many components as there are samples hold those samples exactly.
  plan.latent = compressed(kTokens);
  EXPECT_LT(testing::MaxDifference(Attention(BuildLatentLayer(source, plan), plan, x), wanted),
            1e-6);
}

// What is taken out of keys changes no attention; what is taken out of values comes out of it as it
// is, and has to be added behind it.
TEST_P(LatentLayerTest, ACentreLosesNothing) {
  const GqaSpec gqa{.num_attention_heads = 6, .num_key_value_heads = 3, .head_dim = 8};
  const GqaWeights source = testing::RandomGqa(gqa, kHidden, GetParam(), 7);
  LatentLayerPlan plan = PlanFor(gqa, source, 4, 2);
  const Matrix x = Inputs();
  const Matrix wanted = Attention(BuildLatentLayer(source, plan), plan, x);
  Random random(9);
  plan.latent.centre = testing::RandomVector(44, random);
  for (const bool identity : {true, false}) {
    if (!identity) {
      plan.latent.encoder = testing::RandomMatrix(44, 44, random);
      const Matrix inverse_root =
          Multiply(plan.latent.encoder, Transpose::kYes, plan.latent.encoder, Transpose::kNo);
      const SymmetricEigen eigen = *DecomposeSymmetric(inverse_root);
      Matrix scaled = eigen.vectors;
      for (int64_t i = 0; i < 44; ++i)
        for (int64_t j = 0; j < 44; ++j) scaled(i, j) /= eigen.values[j];
      plan.latent.decoder =
          Multiply(Multiply(scaled, Transpose::kNo, eigen.vectors, Transpose::kYes), Transpose::kNo,
                   plan.latent.encoder, Transpose::kYes);
    }
    const LatentWeights shifted = BuildLatentLayer(source, plan);
    ASSERT_EQ(shifted.kv_a_bias.size(), 44 + 4);
    Matrix attended = Attention(shifted, plan, x);
    for (int64_t t = 0; t < attended.rows(); ++t)
      for (int head = 0; head < 6; ++head)
        for (int i = 0; i < 8; ++i)
          attended(t, head * 8 + i) += plan.latent.centre[20 + head / 2 * 8 + i];
    EXPECT_LT(testing::MaxDifference(attended, wanted), 1e-7) << identity;
  }
}

TEST_P(LatentLayerTest, FullRankQueryProjectionIsTheWholeOne) {
  const GqaSpec gqa{.num_attention_heads = 2, .num_key_value_heads = 1, .head_dim = 8};
  const GqaWeights source = testing::RandomGqa(gqa, kHidden, GetParam(), 8);
  LatentLayerPlan plan = PlanFor(gqa, source, 4, 2);
  const Matrix x = Inputs();
  const Matrix wanted = Attention(BuildLatentLayer(source, plan), plan, x);
  plan.query_basis = *PrincipalComponents(Gram(testing::Project(x, source.q, source.q_bias)), 16);
  const LatentWeights latent = BuildLatentLayer(source, plan);
  EXPECT_EQ(latent.q_a.rows(), 16);
  EXPECT_LT(testing::MaxDifference(Attention(latent, plan, x), wanted), 1e-9);
}

INSTANTIATE_TEST_SUITE_P(Biases, LatentLayerTest, ::testing::Bool());

}  // namespace
}  // namespace transmla
