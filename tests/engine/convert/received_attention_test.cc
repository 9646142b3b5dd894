// The weights of positions against the definition, head by head and position by position.
#include "engine/convert/received_attention.h"

#include <algorithm>
#include <cmath>

#include "gtest/gtest.h"

#include "tests/engine/convert/attention_reference.h"

namespace transmla {
namespace {

constexpr int kTokens = 11;

ModelSpec Spec() {
  ModelSpec spec;
  spec.num_layers = 1;
  spec.gqa = {.num_attention_heads = 6, .num_key_value_heads = 2, .head_dim = 8};
  spec.attention_scale = 0.5f;
  spec.inv_freq = {testing::DefaultFrequencies(8)};
  return spec;
}

FloatMatrix Random(int64_t rows, int64_t cols, uint64_t seed) {
  transmla::Random random(seed);
  FloatMatrix m(rows, cols);
  for (float& value : m.values()) value = static_cast<float>(random.Normal());
  return m;
}

// The same from the definition, in float64.
std::vector<double> Wanted(const ModelSpec& spec, const FloatMatrix& q, const FloatMatrix& k) {
  const int d = spec.gqa.head_dim, n = d / 2;
  const int group = spec.gqa.num_attention_heads / spec.gqa.num_key_value_heads;
  std::vector<double> squares(kTokens);
  for (int head = 0; head < spec.gqa.num_attention_heads; ++head) {
    for (int t = 0; t < kTokens; ++t) {
      std::vector<double> weights(kTokens);
      double sum = 0;
      for (int s = 0; s <= t; ++s) {
        if (spec.WindowOf(0) > 0 && t - s >= spec.WindowOf(0)) continue;
        double score = 0;  // depends on the distance alone
        for (int f = 0; f < n; ++f) {
          const double angle = double{spec.inv_freq[0][f]} * (s - t);
          const double a = k.row(s)[head / group * d + f], b = k.row(s)[head / group * d + f + n];
          score += q.row(t)[head * d + f] * (a * std::cos(angle) - b * std::sin(angle)) +
                   q.row(t)[head * d + f + n] * (b * std::cos(angle) + a * std::sin(angle));
        }
        score *= double{spec.attention_scale};
        if (spec.attention_soft_cap > 0)
          score = spec.attention_soft_cap * std::tanh(score / spec.attention_soft_cap);
        sum += weights[s] = std::exp(score);
      }
      for (int s = 0; s < kTokens; ++s) squares[s] += weights[s] / sum * weights[s] / sum;
    }
  }
  double mean = 0;
  for (double& square : squares) mean += (square = std::sqrt(square)) / kTokens;
  for (double& square : squares) square /= mean;
  return squares;
}

void ExpectDefinition(const ModelSpec& spec) {
  const FloatMatrix q = Random(kTokens, 48, 1), k = Random(kTokens, 16, 2);
  const std::vector<float> got = ReceivedAttention(spec, 0, q, k);
  const std::vector<double> wanted = Wanted(spec, q, k);
  ASSERT_EQ(got.size(), wanted.size());
  for (int s = 0; s < kTokens; ++s) EXPECT_NEAR(got[s], wanted[s], 1e-5) << s;
}

TEST(ReceivedAttentionTest, IsTheDefinition) { ExpectDefinition(Spec()); }

TEST(ReceivedAttentionTest, SeesNoFurtherThanTheWindow) {
  ModelSpec spec = Spec();
  spec.sliding_window = {4};
  ExpectDefinition(spec);
}

TEST(ReceivedAttentionTest, CapsScores) {
  ModelSpec spec = Spec();
  spec.attention_soft_cap = 1.5f;
  ExpectDefinition(spec);
}

TEST(ReceivedAttentionTest, OneTokenHasAllTheWeight) {
  EXPECT_EQ(ReceivedAttention(Spec(), 0, Random(1, 48, 3), Random(1, 16, 4)),
            std::vector<float>{1});
}

}  // namespace
}  // namespace transmla
