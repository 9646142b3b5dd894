#include "engine/sample/sampling_params.h"

#include <limits>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace transmla {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

using testing::HasSubstr;

void ExpectInvalid(const absl::Status& status, const std::string& field, const std::string& value) {
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << field << " " << value;
  EXPECT_THAT(std::string(status.message()), HasSubstr(field + " is " + value + ";"));
}

TEST(SamplingParamsTest, DefaultsAreValid) {
  EXPECT_TRUE(Validate(SamplingParams()).ok());
  EXPECT_TRUE(Validate(StopParams()).ok());
}

TEST(SamplingParamsTest, BordersOfEachRangeAreValid) {
  for (const float temperature : {0.0f, 1e-6f, 100.0f})
    EXPECT_TRUE(Validate(SamplingParams{.temperature = temperature}).ok()) << temperature;
  for (const int top_k : {0, 1, std::numeric_limits<int>::max()})
    EXPECT_TRUE(Validate(SamplingParams{.top_k = top_k}).ok()) << top_k;
  for (const float top_p : {1e-6f, 1.0f})
    EXPECT_TRUE(Validate(SamplingParams{.top_p = top_p}).ok()) << top_p;
  for (const float min_p : {0.0f, 1.0f})
    EXPECT_TRUE(Validate(SamplingParams{.min_p = min_p}).ok()) << min_p;
}

TEST(SamplingParamsTest, OutsideEachRangeIsNamed) {
  ExpectInvalid(Validate(SamplingParams{.temperature = -0.5f}), "temperature", "-0.5");
  ExpectInvalid(Validate(SamplingParams{.temperature = 100.5f}), "temperature", "100.5");
  ExpectInvalid(Validate(SamplingParams{.temperature = kNan}), "temperature", "nan");
  ExpectInvalid(Validate(SamplingParams{.temperature = kInfinity}), "temperature", "inf");
  ExpectInvalid(Validate(SamplingParams{.top_k = -1}), "top_k", "-1");
  ExpectInvalid(Validate(SamplingParams{.top_p = 0}), "top_p", "0");
  ExpectInvalid(Validate(SamplingParams{.top_p = 1.5f}), "top_p", "1.5");
  ExpectInvalid(Validate(SamplingParams{.top_p = kNan}), "top_p", "nan");
  ExpectInvalid(Validate(SamplingParams{.min_p = -0.25f}), "min_p", "-0.25");
  ExpectInvalid(Validate(SamplingParams{.typical_p = 0}), "typical_p", "0");
  ExpectInvalid(Validate(SamplingParams{.typical_p = kNan}), "typical_p", "nan");
  ExpectInvalid(Validate(SamplingParams{.repetition_penalty = 0}), "repetition_penalty", "0");
  ExpectInvalid(Validate(SamplingParams{.repetition_penalty = 1e-39f}), "repetition_penalty",
                "1e-39");
  ExpectInvalid(Validate(SamplingParams{.repetition_penalty = 11}), "repetition_penalty", "11");
  ExpectInvalid(Validate(SamplingParams{.repetition_penalty = kNan}), "repetition_penalty", "nan");
  ExpectInvalid(Validate(SamplingParams{.presence_penalty = -2.5f}), "presence_penalty", "-2.5");
  ExpectInvalid(Validate(SamplingParams{.frequency_penalty = kNan}), "frequency_penalty", "nan");
  ExpectInvalid(Validate(SamplingParams{.logit_bias = {{3, 101.0f}}}), "the logit_bias of token 3",
                "101");
  ExpectInvalid(Validate(SamplingParams{.logit_bias = {{3, kNan}}}), "the logit_bias of token 3",
                "nan");
  ExpectInvalid(Validate(SamplingParams{.logit_bias = {1025, {3, 1.0f}}}),
                "the number of logit_bias entries", "1025");
  ExpectInvalid(Validate(SamplingParams{.min_p = 1.25f}), "min_p", "1.25");
  ExpectInvalid(Validate(SamplingParams{.min_p = kNan}), "min_p", "nan");
}

TEST(StopParamsTest, TokenCounts) {
  EXPECT_TRUE(Validate(StopParams{.max_tokens = 5, .min_tokens = 5}).ok());
  EXPECT_TRUE(Validate(StopParams{.max_tokens = 0, .min_tokens = 5}).ok());  // 0: no maximum
  ExpectInvalid(Validate(StopParams{.max_tokens = -1}), "max_tokens", "-1");
  ExpectInvalid(Validate(StopParams{.min_tokens = -7}), "min_tokens", "-7");
  ExpectInvalid(Validate(StopParams{.max_tokens = 5, .min_tokens = 6}), "min_tokens", "6");
}

TEST(StopParamsTest, LargeNumbersAreShownWhole) {
  const absl::Status status =
      Validate(StopParams{.max_tokens = 2000000000, .min_tokens = 2000000001});
  ExpectInvalid(status, "min_tokens", "2000000001");
  EXPECT_THAT(std::string(status.message()), HasSubstr("(2000000000)"));
}

TEST(StopParamsTest, StopStrings) {
  EXPECT_TRUE(Validate(StopParams{.stop_strings = std::vector<std::string>(16, "x")}).ok());
  EXPECT_TRUE(Validate(StopParams{.stop_strings = {std::string(256, 'x')}}).ok());
  ExpectInvalid(Validate(StopParams{.stop_strings = std::vector<std::string>(17, "x")}),
                "the number of stop_strings", "17");
  ExpectInvalid(Validate(StopParams{.stop_strings = {"a", ""}}), "the length of a stop string",
                "0");
  ExpectInvalid(Validate(StopParams{.stop_strings = {std::string(257, 'x')}}),
                "the length of a stop string", "257");
}

TEST(StopParamsTest, StopTokens) {
  EXPECT_TRUE(Validate(StopParams{.stop_token_ids = std::vector<int32_t>(1024, 1)}).ok());
  ExpectInvalid(Validate(StopParams{.stop_token_ids = std::vector<int32_t>(1025, 1)}),
                "the number of stop_token_ids", "1025");
}

}  // namespace
}  // namespace transmla
