#include "engine/sample/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "engine/base/random.h"

namespace transmla {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

int32_t Draw(Sampler& sampler, const std::vector<float>& logits, const SampleRequest& request) {
  const absl::StatusOr<Sample> sample = sampler.Draw(logits, request);
  EXPECT_TRUE(sample.ok()) << sample.status();
  return sample.ok() ? sample->token : -1;
}

int32_t Greedy(const std::vector<float>& logits, absl::Span<const int32_t> forbidden = {}) {
  Sampler sampler;
  return Draw(sampler, logits, {.sampling = {.temperature = 0}, .forbidden = forbidden});
}

std::vector<float> RandomLogits(int count, double spread, uint64_t seed) {
  Random random(seed);
  std::vector<float> logits(count);
  for (float& logit : logits) logit = static_cast<float>(spread * random.Normal());
  return logits;
}

// The definition, in doubles: each filter on what the one before left, renormalised.
std::vector<double> Distribution(const std::vector<float>& logits, const SamplingParams& sampling) {
  std::vector<int> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return logits[a] > logits[b]; });
  std::vector<double> p(logits.size());
  for (size_t i = 0; i < p.size(); ++i)
    p[i] = std::exp((static_cast<double>(logits[i]) - logits[order[0]]) / sampling.temperature);
  const auto normalise = [&p] {
    const double total = std::accumulate(p.begin(), p.end(), 0.0);
    for (double& value : p) value /= total;
  };
  normalise();
  if (sampling.top_k > 0) {
    for (size_t i = sampling.top_k; i < order.size(); ++i) p[order[i]] = 0;
    normalise();
  }
  double sum = 0;
  for (const int token : order) {
    const bool enough = sum >= sampling.top_p;
    sum += p[token];
    if (enough) p[token] = 0;
  }
  normalise();
  const double floor = sampling.min_p * p[order[0]];
  for (double& value : p) value = value < floor ? 0 : value;
  normalise();
  if (sampling.typical_p < 1) {
    double entropy = 0;
    for (const double value : p) entropy -= value > 0 ? value * std::log(value) : 0;
    const auto oddity = [&](int token) {
      return p[token] > 0 ? std::abs(std::log(p[token]) + entropy) : kInfinity;
    };
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int a, int b) { return oddity(a) < oddity(b); });
    std::vector<double> kept(p.size(), 0);
    double mass = 0;
    for (size_t i = 0; i < order.size() && mass < sampling.typical_p; ++i) {
      mass += p[order[i]];
      kept[order[i]] = p[order[i]];
    }
    p = kept;
    normalise();
  }
  return p;
}

struct Case {
  const char* name;
  int vocabulary;
  double spread;
  SamplingParams sampling;
};

class SamplerDistributionTest : public testing::TestWithParam<Case> {};

TEST_P(SamplerDistributionTest, DrawsFromTheDefinition) {
  const Case& c = GetParam();
  const std::vector<float> logits = RandomLogits(c.vocabulary, c.spread, 3);
  const std::vector<double> expected = Distribution(logits, c.sampling);
  constexpr int kDraws = 30000;
  std::vector<int> counts(logits.size(), 0);
  Sampler sampler;
  for (int i = 0; i < kDraws; ++i) {
    SampleRequest request{.sampling = c.sampling, .position = i % 7};
    request.sampling.seed = static_cast<uint64_t>(i / 7);  // consecutive seeds must be independent
    ++counts[Draw(sampler, logits, request)];
  }
  double chi_square = 0;
  int cells = 0;
  double rare_expected = 0, rare = 0;  // cells too small for the statistic, together
  for (size_t token = 0; token < counts.size(); ++token) {
    const double want = kDraws * expected[token];
    if (expected[token] == 0) {
      ASSERT_EQ(counts[token], 0) << "token " << token << " was filtered out";
    } else if (want < 10) {
      rare_expected += want;
      rare += counts[token];
    } else {
      chi_square += (counts[token] - want) * (counts[token] - want) / want;
      ++cells;
    }
  }
  if (rare_expected >= 10) {
    chi_square += (rare - rare_expected) * (rare - rare_expected) / rare_expected;
    ++cells;
  }
  // Mean and five standard deviations of chi-square; the seeds are fixed, so this never flakes.
  const double freedom = std::max(cells - 1, 1);
  EXPECT_LT(chi_square, freedom + 5 * std::sqrt(2 * freedom)) << cells << " cells";
}

INSTANTIATE_TEST_SUITE_P(
    Filters, SamplerDistributionTest,
    testing::Values(
        Case{"Plain", 11, 1.5, {}}, Case{"Cold", 11, 1.5, {.temperature = 0.4f}},
        Case{"Hot", 11, 3, {.temperature = 3.0f}}, Case{"TopK", 11, 1, {.top_k = 4}},
        Case{"TopKOne", 11, 1, {.top_k = 1}}, Case{"TopKAboveAll", 11, 1, {.top_k = 50}},
        Case{"TopP", 11, 1, {.top_p = 0.7f}}, Case{"TopPTiny", 11, 1, {.top_p = 1e-6f}},
        Case{"TopPFlatNeedsManyHeads", 300, 0.2, {.top_p = 0.9f}},
        Case{"TopPPeaked", 300, 6, {.top_p = 0.95f}}, Case{"MinP", 11, 1, {.min_p = 0.2f}},
        Case{"MinPOne", 11, 1, {.min_p = 1.0f}}, Case{"Typical", 11, 1.5, {.typical_p = 0.6f}},
        Case{"TypicalTiny", 11, 1.5, {.typical_p = 1e-6f}},
        Case{"TypicalAfterTopK", 90, 1.5, {.top_k = 30, .typical_p = 0.8f}},
        Case{"All", 90, 1.5, {.temperature = 0.8f, .top_k = 40, .top_p = 0.9f, .min_p = 0.05f}}),
    [](const auto& test) { return std::string(test.param.name); });

TEST(SamplerTest, GreedyTakesTheFirstOfTheLargest) {
  EXPECT_EQ(Greedy({1, 5, 5, 2, 5}), 1);
  EXPECT_EQ(Greedy({7, 7}), 0);
  EXPECT_EQ(Greedy({-kInfinity, -3, -kInfinity}), 1);
  EXPECT_EQ(Greedy({std::numeric_limits<float>::lowest(), -kInfinity}), 0);
}

TEST(SamplerTest, TiesAtTheEdgeOfAFilterKeepTheFirst) {
  Sampler sampler;
  const std::vector<float> logits = {2, 2, 2, 2, 1};
  for (uint64_t seed = 0; seed < 200; ++seed) {
    EXPECT_LT(Draw(sampler, logits, {.sampling = {.top_k = 2, .seed = seed}}), 2);
    EXPECT_LT(Draw(sampler, logits, {.sampling = {.top_p = 0.3f, .seed = seed}}), 2);
  }
}

TEST(SamplerTest, ADrawDependsOnSeedAndPositionAlone) {
  const std::vector<float> logits = RandomLogits(500, 1, 8);
  const std::vector<float> others = RandomLogits(90, 2, 9);
  std::vector<int32_t> first;
  Sampler sampler;
  for (int position = 0; position < 50; ++position)
    first.push_back(
        Draw(sampler, logits, {.sampling = {.top_p = 0.9f, .seed = 4}, .position = position}));
  EXPECT_GT(std::set<int32_t>(first.begin(), first.end()).size(), 20);
  Sampler again;  // other order, other requests between
  for (int position = 49; position >= 0; --position) {
    Draw(again, others, {.sampling = {.top_k = 7, .seed = 77}, .position = position});
    EXPECT_EQ(Draw(again, logits, {.sampling = {.top_p = 0.9f, .seed = 4}, .position = position}),
              first[position]);
  }
}

TEST(SamplerTest, ForbiddenTokensAreNeverDrawn) {
  const std::vector<float> logits = {9, 8, 7, 1};
  const std::vector<int32_t> forbidden = {0, 2, -5, 1000};  // ids out of range are no matter
  EXPECT_EQ(Greedy(logits, forbidden), 1);
  Sampler sampler;
  int third = 0;
  for (uint64_t seed = 0; seed < 2000; ++seed) {
    const int32_t token = Draw(
        sampler, logits, {.sampling = {.temperature = 5, .seed = seed}, .forbidden = forbidden});
    ASSERT_TRUE(token == 1 || token == 3);
    third += token == 3;
  }
  EXPECT_GT(third, 200);  // e^(-7/5) against 1
  EXPECT_EQ(Draw(sampler, logits, {.sampling = {.temperature = 0}}), 0) << "forgets the last call";
}

TEST(SamplerTest, BrokenLogitsAreAnError) {
  Sampler sampler;
  const std::vector<int32_t> first = {0};
  const std::vector<int32_t> all = {0, 1, 2};
  for (const std::vector<float>& logits :
       {std::vector<float>{1, kNan, 2}, std::vector<float>{kNan, kNan, kNan},
        std::vector<float>{1, 2, kInfinity},
        std::vector<float>{-kInfinity, -kInfinity, -kInfinity}}) {
    for (const float temperature : {0.0f, 1.0f}) {
      const absl::StatusOr<Sample> sample =
          sampler.Draw(logits, {.sampling = {.temperature = temperature}, .position = 17});
      ASSERT_EQ(sample.status().code(), absl::StatusCode::kInternal);
      EXPECT_THAT(std::string(sample.status().message()), testing::HasSubstr("position 17"));
    }
  }
  // A NaN does not hide behind a forbidden token; nothing may be left to draw.
  EXPECT_FALSE(sampler.Draw({kNan, 1, 2}, {.forbidden = first}).ok());
  EXPECT_FALSE(sampler.Draw({0, 1, 2}, {.forbidden = all}).ok());
}

TEST(SamplerTest, LogprobsAreOfTheModelsOwnDistribution) {
  const std::vector<float> logits = {1, 3, 3, -kInfinity, 2};
  const std::vector<int32_t> forbidden = {1};
  Sampler sampler;
  // Neither temperature, filters nor forbidden tokens change them.
  const absl::StatusOr<Sample> sample = sampler.Draw(
      logits,
      {.sampling = {.temperature = 0.1f, .top_k = 1}, .forbidden = forbidden, .logprobs = 3});
  ASSERT_TRUE(sample.ok());
  const double total = std::log(std::exp(1.0) + 2 * std::exp(3.0) + std::exp(2.0));
  EXPECT_EQ(sample->token, 2);
  EXPECT_NEAR(sample->logprob, 3 - total, 1e-6);
  ASSERT_EQ(sample->top.size(), 3);
  EXPECT_EQ(sample->top[0].first, 1);
  EXPECT_EQ(sample->top[1].first, 2);
  EXPECT_EQ(sample->top[2].first, 4);
  EXPECT_NEAR(sample->top[0].second, 3 - total, 1e-6);
  EXPECT_NEAR(sample->top[2].second, 2 - total, 1e-6);
}

TEST(SamplerTest, LogprobsOnlyWhenAsked) {
  Sampler sampler;
  const std::vector<float> logits = {1, 2};
  const absl::StatusOr<Sample> none = sampler.Draw(logits, {});
  ASSERT_TRUE(none.ok());
  EXPECT_EQ(none->logprob, 0);
  EXPECT_TRUE(none->top.empty());
  const absl::StatusOr<Sample> own = sampler.Draw(logits, {.logprobs = 0});
  ASSERT_TRUE(own.ok());
  EXPECT_LT(own->logprob, 0);
  EXPECT_TRUE(own->top.empty());
  const absl::StatusOr<Sample> many = sampler.Draw(logits, {.logprobs = 10});
  ASSERT_TRUE(many.ok());
  EXPECT_EQ(many->top.size(), 2);
}

TEST(SamplerTest, LargeLogitsDoNotOverflow) {
  Sampler sampler;
  const std::vector<float> logits = {3e38f, 1e38f, -3e38f};
  for (const float temperature : {1e-6f, 1.0f, 100.0f}) {
    const absl::StatusOr<Sample> sample =
        sampler.Draw(logits, {.sampling = {.temperature = temperature}, .logprobs = 1});
    ASSERT_TRUE(sample.ok());
    EXPECT_EQ(sample->token, 0);
    EXPECT_NEAR(sample->logprob, 0, 1e-6);
  }
}

}  // namespace
}  // namespace transmla
