#include "engine/model/mla_crossover.h"

#include <cmath>

#include "gtest/gtest.h"

namespace transmla {
namespace {

double Crossover(int rank, int nope, int value) {
  return MlaCrossover({.num_attention_heads = 1,
                       .kv_lora_rank = rank,
                       .qk_nope_head_dim = nope,
                       .v_head_dim = value});
}

TEST(MlaCrossoverTest, CountsProductsOfBothForms) {
  // DeepSeek-V2's shape: 512 · 256 / (1024 - 256) = 170.7 tokens by count, 1.4 times as many
  // measured.
  EXPECT_NEAR(Crossover(512, 128, 128), 1.4 * 170.67, 0.1);
  // Keys and values as narrow as queries in latent space are wide: the more, the later.
  EXPECT_GT(Crossover(256, 128, 128), Crossover(512, 128, 128));
  EXPECT_NEAR(Crossover(1 << 20, 128, 128), 1.4 * 128, 0.1) << "half of nope + v for wide latents";
}

TEST(MlaCrossoverTest, NeverComesForNarrowLatents) {
  EXPECT_TRUE(std::isinf(Crossover(64, 64, 64))) << "the same number of products";
  EXPECT_TRUE(std::isinf(Crossover(48, 64, 64)));
  EXPECT_TRUE(std::isinf(Crossover(512, 0, 128))) << "nothing to absorb";
}

}  // namespace
}  // namespace transmla
