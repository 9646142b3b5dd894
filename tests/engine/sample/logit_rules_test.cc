#include "engine/sample/logit_rules.h"

#include <limits>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace transmla {
namespace {

using testing::ElementsAre;
constexpr float kNever = -std::numeric_limits<float>::infinity();

std::vector<float> Ruled(const std::vector<float>& logits, const SampleRequest& request) {
  std::vector<float> out = {42};  // of an earlier call
  ApplyLogitRules(logits, request, out);
  return out;
}

TEST(LogitRulesTest, WithoutRulesLogitsStay) {
  TokenHistory history;
  history.AddGenerated(0);
  EXPECT_TRUE(LeavesLogits({}));
  EXPECT_TRUE(LeavesLogits({.history = &history}));
  EXPECT_TRUE(LeavesLogits({.sampling = {.temperature = 0, .top_k = 3}}));
  EXPECT_FALSE(LeavesLogits({.sampling = {.logit_bias = {{1, 1.0f}}}}));
  EXPECT_FALSE(LeavesLogits({.sampling = {.allowed_tokens = {1}}}));
  EXPECT_FALSE(LeavesLogits({.sampling = {.presence_penalty = 1}, .history = &history}));
  EXPECT_TRUE(LeavesLogits({.sampling = {.presence_penalty = 1}})) << "nothing was there yet";
}

TEST(LogitRulesTest, RepetitionCountsThePromptTheOthersDoNot) {
  TokenHistory history;
  history.AddPrompt(std::vector<int32_t>{0, 1, 1});
  history.AddGenerated(2);
  history.AddGenerated(2);
  history.AddGenerated(3);
  const std::vector<float> logits = {4, -4, 4, 0, 4};
  EXPECT_THAT(Ruled(logits, {.sampling = {.repetition_penalty = 2}, .history = &history}),
              ElementsAre(2, -8, 2, 0, 4));
  EXPECT_THAT(Ruled(logits, {.sampling = {.presence_penalty = 1.5f}, .history = &history}),
              ElementsAre(4, -4, 2.5f, -1.5f, 4));
  EXPECT_THAT(Ruled(logits, {.sampling = {.frequency_penalty = 0.5f}, .history = &history}),
              ElementsAre(4, -4, 3, -0.5f, 4));
  EXPECT_THAT(
      Ruled(
          logits,
          {.sampling = {.repetition_penalty = 2, .presence_penalty = -1, .frequency_penalty = 0.5f},
           .history = &history}),
      ElementsAre(2, -8, 2, 0.5f, 4));
}

TEST(LogitRulesTest, TheBiasComesBeforeThePenalties) {
  TokenHistory history;
  history.AddPrompt(std::vector<int32_t>{0});
  EXPECT_THAT(Ruled({-1, 1},
                    {.sampling = {.repetition_penalty = 2, .logit_bias = {{0, 5.0f}, {1, -100.0f}}},
                     .history = &history}),
              ElementsAre(2, -99));
}

TEST(LogitRulesTest, OnlyAllowedTokensStayAndForbiddenOnesGoAlways) {
  const std::vector<int32_t> forbidden = {2, -1, 9};
  EXPECT_THAT(
      Ruled({1, 2, 3, 4}, {.sampling = {.allowed_tokens = {0, 2, 77, -3}}, .forbidden = forbidden}),
      ElementsAre(1, kNever, kNever, kNever));
}

TEST(LogitRulesTest, WhoAllowsOnlyWhatIsForbiddenGetsAnError) {
  const std::vector<int32_t> forbidden = {2};
  Sampler sampler;
  const absl::StatusOr<Sample> sample =
      sampler.Draw(std::vector<float>{1, 2, 3},
                   {.sampling = {.allowed_tokens = {2}}, .position = 5, .forbidden = forbidden});
  EXPECT_EQ(sample.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(sample.status().message()), testing::HasSubstr("position 5"));
}

TEST(LogitRulesTest, DrawsFollowTheRules) {
  Sampler sampler;
  TokenHistory history;
  const std::vector<float> logits = {3, 2.9f, 0};
  const SampleRequest greedy = {.sampling = {.temperature = 0, .frequency_penalty = 0.2f},
                                .history = &history};
  std::vector<int32_t> drawn;
  for (int i = 0; i < 6; ++i) {
    drawn.push_back(sampler.Draw(logits, greedy)->token);
    history.AddGenerated(drawn.back());
  }
  EXPECT_THAT(drawn, ElementsAre(0, 1, 0, 1, 0, 1));
  for (uint64_t seed = 0; seed < 200; ++seed) {
    EXPECT_NE(
        sampler.Draw(logits, {.sampling = {.logit_bias = {{0, -100.0f}}, .seed = seed}})->token, 0);
  }
}

}  // namespace
}  // namespace transmla
