#include "engine/convert/stock_layout.h"

#include <cmath>

#include "gtest/gtest.h"

#include "tests/engine/convert/attention_reference.h"

namespace transmla {
namespace {

using testing::RandomMatrix;
using testing::RandomVector;

constexpr int kHidden = 23, kTokens = 13;
constexpr double kHiddenNorm = 31;  // of every token's hidden state: the bound is reached
constexpr MlaSpec kShape{.num_attention_heads = 3,
                         .kv_lora_rank = 11,
                         .qk_nope_head_dim = 5,
                         .qk_rope_head_dim = 6,
                         .v_head_dim = 7};

struct Case {
  const char* name;
  bool biased;
  int q_lora_rank;
  int qk_nope_head_dim;
};

class StockLayoutTest : public ::testing::TestWithParam<Case> {
 protected:
  MlaSpec Shape() const {
    MlaSpec shape = kShape;
    shape.q_lora_rank = GetParam().q_lora_rank;
    shape.qk_nope_head_dim = GetParam().qk_nope_head_dim;
    return shape;
  }

  LatentWeights Weights() const {
    const MlaSpec shape = Shape();
    Random random(4);
    const double scale = 1 / std::sqrt(kHidden);
    const int q_rows = 3 * (shape.qk_nope_head_dim + 6), kv_rows = 11 + 6;
    LatentWeights weights;
    if (shape.q_lora_rank > 0)
      weights.q_a = RandomMatrix(shape.q_lora_rank, kHidden, random, scale);
    weights.q = RandomMatrix(q_rows, shape.q_lora_rank > 0 ? shape.q_lora_rank : kHidden, random,
                             0.2 * scale);
    weights.kv_a = RandomMatrix(kv_rows, kHidden, random, scale);
    weights.kv_b = RandomMatrix(3 * (shape.qk_nope_head_dim + 7), 11, random, 0.3);
    if (GetParam().biased) {
      weights.q_bias = RandomVector(q_rows, random);
      weights.kv_a_bias = RandomVector(kv_rows, random);
      weights.o_bias = RandomVector(kHidden, random);
    }
    weights.inv_freq = testing::DefaultFrequencies(6);
    return weights;
  }

  static Matrix Inputs() {
    Random random(5);
    Matrix x = RandomMatrix(kTokens, kHidden, random);
    for (int64_t t = 0; t < kTokens; ++t) {
      double squares = 0;
      for (const double value : x.row(t)) squares += value * value;
      for (double& value : x.row(t)) value *= kHiddenNorm / std::sqrt(squares);
    }
    return x;
  }

  LatentWeights Stock(double query_scale = 1, double rope_scale = 1) const {
    return ToStockLayout(Weights(), {.shape = Shape(),
                                     .hidden_norm = kHiddenNorm,
                                     .query_scale = query_scale,
                                     .rope_scale = rope_scale});
  }
};

// Both latents shrink by less than 2^-25. Scores reach 30, so weights change by 60 · 2^-25, and
// values of about 3 by three times that: 5e-6.
TEST_P(StockLayoutTest, NormsAndMissingBiasesChangeNothing) {
  const LatentWeights plain = Weights();
  LatentWeights stock = Stock();
  EXPECT_TRUE(stock.inv_freq.empty());
  stock.inv_freq = plain.inv_freq;
  const MlaSpec shape = StockShape(Shape(), kHidden);
  EXPECT_EQ(shape.kv_lora_rank, 12);
  EXPECT_EQ(shape.q_lora_rank, GetParam().q_lora_rank > 0 ? GetParam().q_lora_rank + 1 : 24);
  EXPECT_TRUE(shape.latent_norm);
  EXPECT_LT(testing::MaxDifference(testing::LatentAttention(plain, Shape(), Inputs(), 0.3),
                                   testing::LatentAttention(stock, shape, Inputs(), 0.3)),
            5e-6);
}

TEST_P(StockLayoutTest, QueriesTakeUpScales) {
  LatentWeights plain = Weights();
  const int nope = Shape().qk_nope_head_dim;
  for (int64_t i = 0; i < plain.q.rows(); ++i) {
    const double scale = 1.7 * (i % (nope + 6) < nope ? 1 : 0.6);
    for (double& value : plain.q.row(i)) value *= scale;
    if (GetParam().biased) plain.q_bias[i] *= scale;
  }
  LatentWeights stock = Stock(1.7, 0.6);
  stock.inv_freq = plain.inv_freq;
  EXPECT_LT(testing::MaxDifference(
                testing::LatentAttention(plain, Shape(), Inputs(), 0.3),
                testing::LatentAttention(stock, StockShape(Shape(), kHidden), Inputs(), 0.3)),
            5e-6);
}

// DeepseekV3Attention has no bias behind the latents, and one before each and behind the output.
TEST_P(StockLayoutTest, HasTheTensorsOfTheStockLayer) {
  const LatentWeights plain = Weights(), stock = Stock();
  const MlaSpec shape = StockShape(Shape(), kHidden);
  EXPECT_EQ(stock.q_a.rows(), shape.q_lora_rank);
  EXPECT_EQ(stock.q_a_bias.size(), stock.q_a.rows());
  EXPECT_EQ(stock.q_a_norm.size(), stock.q_a.rows());
  EXPECT_EQ(stock.q.cols(), shape.q_lora_rank);
  EXPECT_TRUE(stock.q_bias.empty());
  EXPECT_EQ(stock.kv_a.rows(), 12 + 6);
  EXPECT_EQ(stock.kv_a_bias.size(), 12 + 6);
  EXPECT_EQ(stock.kv_a_norm.size(), 12);
  EXPECT_EQ(stock.kv_b.cols(), 12);
  EXPECT_EQ(stock.o_bias, GetParam().biased ? plain.o_bias : std::vector<double>(kHidden, 0));
}

// 16 bits hold powers of two exactly: rounding to BF16 does not bend the constants.
TEST_P(StockLayoutTest, ConstantsAndNormsArePowersOfTwo) {
  const LatentWeights stock = Stock();
  std::vector<double> constants = {stock.kv_a_bias[11], stock.q_a_bias.back()};
  constants.insert(constants.end(), stock.kv_a_norm.begin(), stock.kv_a_norm.end() - 1);
  constants.insert(constants.end(), stock.q_a_norm.begin(), stock.q_a_norm.end());
  for (const double constant : constants) {
    int exponent = 0;
    EXPECT_EQ(std::frexp(constant, &exponent), 0.5);
  }
  EXPECT_EQ(stock.kv_a_norm.back(), 0);  // cached as 0
}

INSTANTIATE_TEST_SUITE_P(Layers, StockLayoutTest,
                         ::testing::Values(Case{"plain", false, 0, 5}, Case{"biased", true, 0, 5},
                                           Case{"query_rank", false, 9, 5},
                                           Case{"biased_query_rank", true, 9, 5},
                                           Case{"rope_alone", true, 0, 0}),
                         [](const auto& test) { return test.param.name; });

// A layer that reads nothing has a bound of 0.
TEST(StockLayoutEdgeTest, ZeroWeightsStayFinite) {
  LatentWeights weights;
  weights.q = Matrix(3 * 11, kHidden);
  weights.kv_a = Matrix(11 + 6, kHidden);
  weights.kv_b = Matrix(3 * 12, 11);
  const LatentWeights stock = ToStockLayout(weights, {.shape = kShape, .hidden_norm = 0});
  EXPECT_TRUE(std::isfinite(stock.kv_a_bias[11]) && stock.kv_a_bias[11] > 0);
  EXPECT_TRUE(std::isfinite(stock.q_a_bias.back()) && stock.q_a_bias.back() > 0);
}

}  // namespace
}  // namespace transmla
