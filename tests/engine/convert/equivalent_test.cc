#include "engine/convert/equivalent.h"

#include <cmath>

#include "gtest/gtest.h"

#include "tests/engine/convert/attention_reference.h"

namespace transmla {
namespace {

struct Case {
  GqaSpec spec;
  bool biased;
};

class EquivalentTest : public ::testing::TestWithParam<Case> {};

TEST_P(EquivalentTest, ComputesTheSameAttentionFromACacheOfTheSameSize) {
  const auto [spec, biased] = GetParam();
  constexpr int kHidden = 20;
  const GqaWeights source = testing::RandomGqa(spec, kHidden, biased, 7);
  const std::vector<float> inv_freq = testing::DefaultFrequencies(spec.head_dim);
  const LatentWeights latent = BuildEquivalentLayer(source, spec, inv_freq);
  const int width = spec.num_key_value_heads * spec.head_dim;
  const MlaSpec mla{.num_attention_heads = spec.num_attention_heads,
                    .kv_lora_rank = width,
                    .qk_rope_head_dim = width,
                    .v_head_dim = spec.head_dim};
  EXPECT_EQ(latent.kv_a.rows(), 2 * width);

  Random random(8);
  const Matrix x = testing::RandomMatrix(9, kHidden, random);
  const double scale = 1 / std::sqrt(spec.head_dim);
  EXPECT_LT(testing::MaxDifference(testing::GqaAttention(source, spec, inv_freq, x, scale),
                                   testing::LatentAttention(latent, mla, x, scale)),
            1e-12);
}

TEST_P(EquivalentTest, CopiesWeightsWithoutChangingABit) {
  const auto [spec, biased] = GetParam();
  const GqaWeights source = testing::RandomGqa(spec, 6, biased, 9);
  const LatentWeights latent =
      BuildEquivalentLayer(source, spec, testing::DefaultFrequencies(spec.head_dim));
  const int64_t d = spec.head_dim, width = d * spec.num_key_value_heads;
  // Pair 0 of the second rotary half of the last key head is the odd neighbour of its slot's first
  // row.
  EXPECT_EQ(latent.kv_a(width + (width - d) + 1, 3), source.k(width - d + d / 2, 3));
  EXPECT_EQ(latent.kv_a(width - 1, 5), source.v(width - 1, 5));
  double nonzero = 0;
  for (const double value : latent.q.values()) nonzero += value != 0;
  EXPECT_EQ(nonzero, source.q.values().size());
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, EquivalentTest,
    ::testing::Values(
        Case{{.num_attention_heads = 6, .num_key_value_heads = 3, .head_dim = 8}, false},
        Case{{.num_attention_heads = 6, .num_key_value_heads = 3, .head_dim = 8}, true},
        Case{{.num_attention_heads = 4, .num_key_value_heads = 1, .head_dim = 6}, true},
        Case{{.num_attention_heads = 3, .num_key_value_heads = 3, .head_dim = 2}, true}));

}  // namespace
}  // namespace transmla
