#include "engine/serve/generation.h"

#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "engine/grammar/constraint_compiler.h"
#include "tests/engine/serve/recording_sink.h"
#include "tests/engine/serve/test_tokenizer.h"

namespace transmla {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr absl::Time kArrival = absl::UnixEpoch();

class GenerationTest : public testing::Test {
 protected:
  GenerationTest() {
    context_.tokenizer = std::make_shared<TestTokenizer>();
    context_.eos_token_ids = {TestTokenizer::kEos};
    context_.max_context_tokens = 1000;
    request_.prompt = {1, 2, 3};
    request_.stop.max_tokens = 100;
  }

  // Takes the bytes of `text` until the generation ends.
  std::optional<FinishedEvent> TakeText(Generation& generation, const std::string& text) {
    for (const char c : text) {
      if (auto finished = generation.Take({.token = static_cast<unsigned char>(c)}, now_)) {
        return finished;
      }
    }
    return std::nullopt;
  }
  std::unique_ptr<Generation> Make() {
    return std::make_unique<Generation>(request_, sink_, &context_, kArrival);
  }
  std::string text() const { return sink_->record().text; }

  GenerationContext context_;
  GenerateRequest request_;
  std::shared_ptr<RecordingSink> sink_ = std::make_shared<RecordingSink>();
  absl::Time now_ = kArrival + absl::Seconds(1);
};

TEST_F(GenerationTest, EveryTokenIsAnEventWithCumulativeUsage) {
  request_.stop.max_tokens = 3;
  const auto generation = Make();
  EXPECT_FALSE(TakeText(*generation, "ab").has_value());
  const auto finished = TakeText(*generation, "c");
  ASSERT_TRUE(finished.has_value());
  EXPECT_EQ(finished->reason, FinishReason::kLength);
  EXPECT_EQ(finished->stop_token, -1);
  const RecordingSink::Record record = sink_->record();
  EXPECT_EQ(record.text, "abc");
  ASSERT_EQ(record.events.size(), 3);
  EXPECT_EQ(record.events[1].text, "b");
  EXPECT_EQ(record.events[1].usage.prompt_tokens, 3);
  EXPECT_EQ(record.events[1].usage.completion_tokens, 2);
  EXPECT_EQ(record.events[1].time, now_);
  ASSERT_EQ(record.events[1].tokens.size(), 1);
  EXPECT_EQ(record.events[1].tokens[0].token, 'b');
}

TEST_F(GenerationTest, ACharacterGoesOutWhole) {
  const auto generation = Make();
  TakeText(*generation, "\xC3");
  EXPECT_EQ(text(), "");
  TakeText(*generation, "\xA4");
  EXPECT_EQ(text(), "ä");
}

TEST_F(GenerationTest, HalfACharacterAtTheEndIsReplaced) {
  request_.stop.max_tokens = 2;
  const auto generation = Make();
  EXPECT_TRUE(TakeText(*generation, "a\xC3").has_value());
  EXPECT_EQ(text(), "a\xEF\xBF\xBD");
}

TEST_F(GenerationTest, StopStringEndsTheText) {
  request_.stop.stop_strings = {"END"};
  const auto generation = Make();
  const auto finished = TakeText(*generation, "one ENDless");
  ASSERT_TRUE(finished.has_value());
  EXPECT_EQ(finished->reason, FinishReason::kStop);
  EXPECT_EQ(finished->stop_string, "END");
  EXPECT_EQ(text(), "one ");
  EXPECT_EQ(generation->usage().completion_tokens, 7);
}

TEST_F(GenerationTest, StopStringIsPartOfTheTextWhenAsked) {
  request_.stop.stop_strings = {"END"};
  request_.stop.include_stop = true;
  const auto generation = Make();
  EXPECT_TRUE(TakeText(*generation, "one ENDless").has_value());
  EXPECT_EQ(text(), "one END");
}

TEST_F(GenerationTest, StopStringOnTheLastAllowedTokenIsAStop) {
  request_.stop.stop_strings = {"ab"};
  request_.stop.max_tokens = 2;
  const auto generation = Make();
  const auto finished = TakeText(*generation, "ab");
  ASSERT_TRUE(finished.has_value());
  EXPECT_EQ(finished->reason, FinishReason::kStop);
  EXPECT_EQ(text(), "");
}

TEST_F(GenerationTest, HeldTextComesOutAtTheEnd) {
  for (const bool by_length : {true, false}) {
    sink_ = std::make_shared<RecordingSink>();
    request_.stop.stop_strings = {"END"};
    request_.stop.max_tokens = by_length ? 3 : 100;
    const auto generation = Make();
    auto finished = TakeText(*generation, "xEN");
    if (!by_length) {
      EXPECT_FALSE(finished.has_value());
      EXPECT_EQ(text(), "x");
      finished = generation->Take({.token = TestTokenizer::kEos}, now_);
    }
    ASSERT_TRUE(finished.has_value());
    EXPECT_EQ(finished->stop_string, "");
    EXPECT_EQ(text(), "xEN");
  }
}

TEST_F(GenerationTest, AReplacedCharacterCanCompleteAStop) {
  request_.stop.stop_strings = {"\xEF\xBF\xBD"};
  request_.stop.max_tokens = 2;
  const auto generation = Make();
  const auto finished = TakeText(*generation, "a\xC3");
  ASSERT_TRUE(finished.has_value());
  EXPECT_EQ(finished->reason, FinishReason::kStop);
  EXPECT_EQ(finished->stop_string, "\xEF\xBF\xBD");
  EXPECT_EQ(text(), "a");
}

TEST_F(GenerationTest, EndTokenIsCountedButHasNoText) {
  request_.skip_special_tokens = false;
  const auto generation = Make();
  TakeText(*generation, "a");
  const auto finished = generation->Take({.token = TestTokenizer::kEos}, now_);
  ASSERT_TRUE(finished.has_value());
  EXPECT_EQ(finished->reason, FinishReason::kStop);
  EXPECT_EQ(finished->stop_token, TestTokenizer::kEos);
  EXPECT_EQ(text(), "a");
  EXPECT_EQ(generation->usage().completion_tokens, 2);
}

TEST_F(GenerationTest, IgnoredEndTokenIsOrdinary) {
  request_.stop.ignore_eos = true;
  request_.skip_special_tokens = false;
  const auto generation = Make();
  EXPECT_FALSE(generation->Take({.token = TestTokenizer::kEos}, now_).has_value());
  EXPECT_EQ(text(), "<eos>");
}

TEST_F(GenerationTest, OwnStopTokensEnd) {
  request_.stop.ignore_eos = true;
  request_.stop.stop_token_ids = {'q', TestTokenizer::kControl};
  auto generation = Make();
  const auto finished = TakeText(*generation, "abq");
  ASSERT_TRUE(finished.has_value());
  EXPECT_EQ(finished->stop_token, 'q');
  EXPECT_EQ(text(), "ab");
  sink_ = std::make_shared<RecordingSink>();
  generation = Make();
  EXPECT_TRUE(generation->Take({.token = TestTokenizer::kControl}, now_).has_value());
}

TEST_F(GenerationTest, ControlTokensAreTextOnlyWhenAsked) {
  for (const bool skip : {true, false}) {
    sink_ = std::make_shared<RecordingSink>();
    request_.skip_special_tokens = skip;
    const auto generation = Make();
    EXPECT_FALSE(generation->Take({.token = TestTokenizer::kControl}, now_).has_value());
    EXPECT_EQ(text(), skip ? "" : "<control>");
  }
}

TEST_F(GenerationTest, EndTokensAreForbiddenBeforeTheMinimum) {
  request_.stop.min_tokens = 2;
  request_.stop.stop_token_ids = {'q'};
  request_.logprobs = 4;
  request_.sampling.seed = 9;
  const auto generation = Make();
  const SampleRequest first = generation->NextSample(3);
  EXPECT_THAT(first.forbidden, ElementsAre('q', TestTokenizer::kEos));
  EXPECT_EQ(first.position, 3);
  EXPECT_EQ(first.logprobs, 4);
  EXPECT_EQ(first.sampling.seed, 9);
  TakeText(*generation, "a");
  EXPECT_THAT(generation->NextSample(4).forbidden, testing::SizeIs(2));
  TakeText(*generation, "b");
  EXPECT_THAT(generation->NextSample(5).forbidden, IsEmpty());
}

TEST_F(GenerationTest, TheContextIsALimit) {
  request_.stop.max_tokens = 0;
  context_.max_context_tokens = 5;
  const auto generation = Make();
  const auto finished = TakeText(*generation, "abcdef");
  ASSERT_TRUE(finished.has_value());
  EXPECT_EQ(finished->reason, FinishReason::kLength);
  EXPECT_EQ(text(), "ab");
}

TEST_F(GenerationTest, LogprobsReachTheEvent) {
  const auto generation = Make();
  generation->Take({.token = 'a', .logprob = -0.5f, .top = {{'b', -0.25f}, {'a', -0.5f}}}, now_);
  const TokenInfo info = sink_->record().events.at(0).tokens.at(0);
  EXPECT_EQ(info.logprob, -0.5f);
  ASSERT_EQ(info.top.size(), 2);
  EXPECT_EQ(info.top[0].token, 'b');
  EXPECT_EQ(info.top[0].logprob, -0.25f);
}

TEST_F(GenerationTest, FinishTellsUsageTimesSeedAndPreemptions) {
  request_.sampling.seed = 77;
  request_.stop.max_tokens = 2;
  const auto generation = Make();
  EXPECT_EQ(generation->last_token(), absl::InfinitePast());
  generation->Started(kArrival + absl::Seconds(2), 1);
  generation->Started(kArrival + absl::Seconds(3), 2);  // only the first counts
  now_ = kArrival + absl::Seconds(5);
  TakeText(*generation, "a");
  EXPECT_EQ(generation->last_token(), now_);
  now_ = kArrival + absl::Seconds(9);
  const auto finished = TakeText(*generation, "b");
  ASSERT_TRUE(finished.has_value());
  generation->Finish(*finished, kArrival + absl::Seconds(10), 4);
  const FinishedEvent event = *sink_->record().finished;
  EXPECT_EQ(event.usage.prompt_tokens, 3);
  EXPECT_EQ(event.usage.cached_prompt_tokens, 1);
  EXPECT_EQ(event.usage.completion_tokens, 2);
  EXPECT_EQ(event.seed, 77);
  EXPECT_EQ(event.preemptions, 4);
  EXPECT_EQ(event.timings.queue, absl::Seconds(2));
  EXPECT_EQ(event.timings.prefill, absl::Seconds(3));
  EXPECT_EQ(event.timings.decode, absl::Seconds(5));
  EXPECT_EQ(event.timings.total, absl::Seconds(10));
}

TEST_F(GenerationTest, PhasesNotReachedAreZero) {
  const auto waiting = Make();
  const RequestTimings queued = waiting->Timings(kArrival + absl::Seconds(4));
  EXPECT_EQ(queued.queue, absl::Seconds(4));
  EXPECT_EQ(queued.prefill, absl::ZeroDuration());
  EXPECT_EQ(queued.decode, absl::ZeroDuration());
  EXPECT_EQ(queued.total, absl::Seconds(4));
  waiting->Started(kArrival + absl::Seconds(1), 0);
  const RequestTimings started = waiting->Timings(kArrival + absl::Seconds(4));
  EXPECT_EQ(started.queue, absl::Seconds(1));
  EXPECT_EQ(started.prefill, absl::Seconds(3));
  EXPECT_EQ(started.decode, absl::ZeroDuration());
}

TEST_F(GenerationTest, FailTellsStatusAndUsage) {
  const auto generation = Make();
  TakeText(*generation, "a");
  generation->Fail(absl::DeadlineExceededError("late"));
  const RecordingSink::Record record = sink_->record();
  EXPECT_EQ(record.error, absl::DeadlineExceededError("late"));
  EXPECT_EQ(record.error_usage.completion_tokens, 1);
  EXPECT_EQ(record.ends, 1);
}

std::shared_ptr<Constraint> Choice(const std::vector<std::string>& texts) {
  static auto* const compiler = new ConstraintCompiler(TestVocabulary);
  return *compiler->Compile({.kind = ConstraintSpec::Kind::kChoice, .text = "", .choices = texts});
}

TEST_F(GenerationTest, AConstraintAllowsTheEndWhereTheTextMayEnd) {
  request_.constraint = Choice({"ab", "abcd"});
  const auto generation = Make();
  EXPECT_TRUE(generation->NextSample(3).constraint->Has('a'));
  EXPECT_FALSE(generation->NextSample(3).constraint->Has('b'));
  EXPECT_THAT(generation->NextSample(3).beside_constraint, IsEmpty());
  EXPECT_FALSE(TakeText(*generation, "ab").has_value());
  EXPECT_TRUE(generation->NextSample(5).constraint->Has('c'));
  EXPECT_THAT(generation->NextSample(5).beside_constraint, ElementsAre(TestTokenizer::kEos));
  const auto finished = TakeText(*generation, "cd");
  ASSERT_TRUE(finished.has_value()) << "nothing can follow";
  EXPECT_EQ(finished->reason, FinishReason::kStop);
  EXPECT_EQ(finished->stop_token, -1);
  EXPECT_EQ(text(), "abcd");
}

TEST_F(GenerationTest, GuessesEndWhereTheRequestDoes) {
  request_.draft_tokens = 8;
  request_.stop.max_tokens = 6;
  const std::vector<int32_t> tokens = {5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 5, 6};
  const auto generation = Make();
  EXPECT_EQ(generation->Guess(tokens).size(), 5) << "the sixth token is drawn in any case";
  TakeText(*generation, "abc");
  EXPECT_EQ(generation->Guess(tokens).size(), 2);
  context_.max_context_tokens = 14;
  EXPECT_EQ(generation->Guess(tokens).size(), 1);
}

TEST_F(GenerationTest, RequestsThatDoNotSayGetTheEnginesGuesses) {
  context_.draft_tokens = 3;
  EXPECT_TRUE(Make()->drafts());
  request_.draft_tokens = 0;
  EXPECT_FALSE(Make()->drafts());
}

TEST_F(GenerationTest, ToolCallsAreNoText) {
  request_.tool_calls = ToolCallFormat::kHermes;
  request_.stop.max_tokens = 0;
  const auto generation = Make();
  TakeText(*generation,
           "Let me see.\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": 1}}\n</tool_call>");
  TakeText(*generation, "\n<tool_call>{\"name\": \"g\", \"arguments\": {}}</tool_call>");
  generation->Take({.token = TestTokenizer::kEos}, now_);
  std::vector<ToolCallEvent> calls;
  for (const TokenEvent& event : sink_->record().events) {
    calls.insert(calls.end(), event.tool_calls.begin(), event.tool_calls.end());
  }
  EXPECT_EQ(text(), "Let me see.");
  ASSERT_EQ(calls.size(), 2);
  EXPECT_EQ(calls[0].call.name, "f");
  EXPECT_EQ(calls[0].call.arguments, R"({"x":1})");
  EXPECT_EQ(calls[0].id.size(), 9);
  EXPECT_EQ(calls[1].call.name, "g");
  EXPECT_NE(calls[0].id, calls[1].id);
}

TEST_F(GenerationTest, ACallThatIsCutIsText) {
  request_.tool_calls = ToolCallFormat::kHermes;
  request_.stop.max_tokens = 20;
  const auto generation = Make();
  EXPECT_TRUE(TakeText(*generation, "<tool_call>{\"name\": \"f\"").has_value());
  EXPECT_EQ(text(), "<tool_call>{\"name\": ");
}

}  // namespace
}  // namespace transmla
