#include "engine/serve/engine_loop.h"

#include <atomic>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "engine/base/error_reason.h"
#include "tests/engine/serve/engine_loop_fixture.h"

namespace transmla {
namespace {

using testing::HasSubstr;

void ExpectError(const RecordingSink::Record& record, absl::StatusCode code,
                 const std::string& reason) {
  EXPECT_FALSE(record.finished.has_value());
  EXPECT_EQ(record.error.code(), code) << record.error;
  EXPECT_EQ(ErrorReason(record.error), reason);
}

TEST_F(EngineLoopTest, ARequestGetsItsText) {
  Start();
  const GenerateRequest request = Request("a", 150, 40);  // three chunks
  const Expected expected = Alone(request);
  const RecordingSink::Record record = Submitted(request)->Wait();
  ASSERT_TRUE(record.finished.has_value());
  EXPECT_EQ(record.text, expected.text);
  EXPECT_EQ(record.finished->reason, expected.reason);
  EXPECT_EQ(record.finished->usage.prompt_tokens, 150);
  EXPECT_EQ(record.finished->usage.completion_tokens, expected.completion_tokens);
  ExpectEmpty();
  const EngineStats stats = loop_->stats();
  EXPECT_EQ(stats.prompt_tokens_computed, 150);
  EXPECT_EQ(stats.generation_tokens, expected.completion_tokens);
  EXPECT_EQ(stats.steps, 2 + expected.completion_tokens);
}

TEST_F(EngineLoopTest, ASecondRequestFindsTheFirstsPages) {
  Start();
  const GenerateRequest first = Request("a", 150, 40, 7);
  GenerateRequest second = first;
  second.id = "b";
  second.prompt.resize(140);
  (void)Submitted(first)->Wait();
  const RecordingSink::Record record = Submitted(second)->Wait();
  ASSERT_TRUE(record.finished.has_value());
  EXPECT_EQ(record.text, Alone(second).text);
  EXPECT_EQ(record.finished->usage.prompt_tokens, 140);
  EXPECT_EQ(record.finished->usage.cached_prompt_tokens, 2 * kPageTokens);
  ExpectEmpty();
  const EngineStats stats = loop_->stats();
  EXPECT_GE(stats.pages_kept, 2);
  EXPECT_EQ(stats.prompt_tokens_computed, 150 + 140 - 2 * kPageTokens);
  EXPECT_EQ(stats.prompt_tokens_cached, 2 * kPageTokens);
  EXPECT_EQ(stats.prefix_queried_tokens, 150 + 140);
  EXPECT_EQ(stats.prefix_hit_tokens, 2 * kPageTokens);
}

TEST_F(EngineLoopTest, SamplingAndStopStringsReachTheRequest) {
  Start();
  GenerateRequest request = Request("a", 9, 100, 5);
  request.sampling = {.temperature = 1, .top_p = 0.9f, .seed = 31};
  const std::string text = Alone(request).text;
  ASSERT_GT(text.size(), 12u);
  request.stop.stop_strings = {"e"};
  const Expected expected = Alone(request);
  const RecordingSink::Record record = Submitted(request)->Wait();
  ASSERT_TRUE(record.finished.has_value());
  EXPECT_EQ(record.text, expected.text);
  EXPECT_EQ(record.finished->reason, expected.reason);
  EXPECT_EQ(record.finished->seed, 31);
}

TEST_F(EngineLoopTest, APreemptedRequestGetsTheTextOfOneAlone) {
  options_.scheduler.pages = 6;
  Start();
  runner_->Close();
  std::vector<GenerateRequest> requests;
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  for (uint64_t i = 0; i < 2; ++i) {  // each needs four pages in the end
    requests.push_back(Request(absl::StrCat(i), 60, 180, i));
    requests.back().stop.ignore_eos = true;
    sinks.push_back(Submitted(requests.back()));
  }
  runner_->Open();
  for (int i = 0; i < 2; ++i) {
    const RecordingSink::Record record = sinks[i]->Wait();
    ASSERT_TRUE(record.finished.has_value());
    EXPECT_EQ(record.finished->preemptions, i);
    EXPECT_EQ(record.finished->usage.completion_tokens, 180);
    EXPECT_EQ(record.text, Alone(requests[i]).text);
  }
  EXPECT_EQ(loop_->stats().preemptions, 1);
  ExpectEmpty();
}

TEST_F(EngineLoopTest, BadRequestsAreRefusedAndTheirPlaceIsGivenBack) {
  options_.scheduler.pages = 4;
  options_.context.max_context_tokens = 1000;
  Start();
  const auto refused = [this](const GenerateRequest& request, absl::StatusCode code,
                              const std::string& message) {
    const auto sink = std::make_shared<RecordingSink>();
    const absl::Status status = Submit(request, sink);
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
    EXPECT_EQ(sink->record().ends, 0);
    return ErrorReason(status);
  };
  refused(Request("a", 0, 5), absl::StatusCode::kInvalidArgument, "the prompt is empty");
  GenerateRequest request = Request("a", 5, 5);
  request.prompt[2] = TestTokenizer::kVocabulary;
  refused(request, absl::StatusCode::kInvalidArgument, "prompt token 258");
  request.prompt[2] = -1;
  refused(request, absl::StatusCode::kInvalidArgument, "prompt token -1");
  request = Request("a", 5, 5);
  request.sampling.top_p = 2;
  refused(request, absl::StatusCode::kInvalidArgument, "top_p");
  request = Request("a", 5, -5);
  refused(request, absl::StatusCode::kInvalidArgument, "max_tokens");
  EXPECT_EQ(refused(Request("a", 600, 401), absl::StatusCode::kInvalidArgument, "context of 1000"),
            "CONTEXT_TOO_LONG");
  EXPECT_EQ(
      refused(Request("a", 200, 57), absl::StatusCode::kFailedPrecondition, "257 cached tokens"),
      "KV_POOL_TOO_SMALL");
  EXPECT_EQ(refused(Request("a", 5, 0), absl::StatusCode::kFailedPrecondition, "1000"),
            "KV_POOL_TOO_SMALL");
  ExpectEmpty();
  // Just fits: fills the cache.
  EXPECT_TRUE(Submitted(Request("a", 200, 56))->Wait().finished.has_value());
}

TEST_F(EngineLoopTest, QueueOfRequestsIsBounded) {
  options_.max_queued_requests = 2;
  options_.scheduler.max_running = 1;
  Start();
  runner_->Close();
  const auto first = Submitted(Request("1", 5, 3));
  runner_->WaitUntilHeld();  // runs: its place is free again
  const auto second = Submitted(Request("2", 5, 3));
  const auto third = Submitted(Request("3", 5, 3));
  EXPECT_EQ(loop_->stats().requests_waiting, 2);
  absl::Status full = loop_->Reserve().status();
  EXPECT_TRUE(absl::IsResourceExhausted(full)) << full;
  EXPECT_EQ(ErrorReason(full), "QUEUE_FULL");
  loop_->Cancel("3");
  runner_->Open();
  EXPECT_TRUE(first->Wait().finished.has_value());
  EXPECT_TRUE(second->Wait().finished.has_value());
  EXPECT_EQ(third->Wait().finished->reason, FinishReason::kCancelled);
  ExpectEmpty();
}

TEST_F(EngineLoopTest, QueueOfPromptTokensIsBounded) {
  options_.max_queued_tokens = 100;
  options_.scheduler.max_running = 1;
  Start();
  runner_->Close();
  const auto first = Submitted(Request("1", 300, 3));  // alone a prompt may be longer
  runner_->WaitUntilHeld();
  const auto second = Submitted(Request("2", 60, 3));
  EXPECT_EQ(loop_->stats().queued_prompt_tokens, 60);
  const absl::Status status = Submit(Request("3", 41, 3), std::make_shared<RecordingSink>());
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_EQ(ErrorReason(status), "QUEUE_TOKENS_FULL");
  const auto fits = Submitted(Request("3", 40, 3));
  runner_->Open();
  for (const auto& sink : {first, second, fits}) EXPECT_TRUE(sink->Wait().finished.has_value());
  ExpectEmpty();
}

TEST_F(EngineLoopTest, AnIdIsUniqueWhileItLives) {
  Start();
  runner_->Close();
  const auto first = Submitted(Request("same", 5, 3));
  runner_->WaitUntilHeld();
  const absl::Status status = Submit(Request("same", 5, 3), std::make_shared<RecordingSink>());
  EXPECT_TRUE(absl::IsAlreadyExists(status)) << status;
  EXPECT_EQ(ErrorReason(status), "DUPLICATE_REQUEST");
  runner_->Open();
  first->Wait();
  EXPECT_TRUE(Submitted(Request("same", 5, 3))->Wait().finished.has_value());
  ExpectEmpty();
}

// Stands in the engine's thread between a request's end and what comes next.
class StandingSink : public RecordingSink {
 public:
  void OnFinished(FinishedEvent event) override {
    RecordingSink::OnFinished(std::move(event));
    ended.Notify();
    go_on.WaitForNotification();
  }
  absl::Notification ended, go_on;
};

TEST_F(EngineLoopTest, ACancellationNeverReachesTheNextRequestOfThatId) {
  Start();
  runner_->Close();
  const auto first = std::make_shared<StandingSink>();
  ASSERT_TRUE(Submit(Request("same", 5, 1), first).ok());
  runner_->WaitUntilHeld();
  loop_->Cancel("same");  // too late: the step that ends it runs
  runner_->Open();
  first->ended.WaitForNotification();
  const GenerateRequest request = Request("same", 7, 20, 2);
  const auto second = Submitted(request);
  first->go_on.Notify();
  EXPECT_EQ(first->Wait().finished->reason, FinishReason::kLength);
  const RecordingSink::Record record = second->Wait();
  EXPECT_NE(record.finished->reason, FinishReason::kCancelled);
  EXPECT_EQ(record.text, Alone(request).text);
}

TEST_F(EngineLoopTest, CancelEndsInEveryState) {
  options_.scheduler.max_running = 2;
  Start();
  runner_->Close();
  const auto decodes = Submitted(Request("decodes", 5, 500, 3));
  const auto prompt = Submitted(Request("prompt", 500, 10));
  const auto waits = Submitted(Request("waits", 5, 10));
  runner_->WaitUntilHeld();
  runner_->Allow(1);
  runner_->WaitUntilHeld();
  ASSERT_EQ(decodes->record().events.size(), 1);
  ASSERT_EQ(prompt->record().events.size(), 0);
  for (const char* id : {"waits", "prompt", "decodes", "unknown"}) loop_->Cancel(id);
  loop_->Cancel("prompt");
  runner_->Open();
  for (const auto& sink : {decodes, prompt, waits}) {
    const RecordingSink::Record record = sink->Wait();
    ASSERT_TRUE(record.finished.has_value());
    EXPECT_EQ(record.finished->reason, FinishReason::kCancelled);
  }
  EXPECT_EQ(runner_->steps(), 2);
  EXPECT_EQ(decodes->record().finished->usage.completion_tokens, 2);
  ExpectEmpty();
}

TEST_F(EngineLoopTest, HigherPriorityGoesFirst) {
  options_.scheduler.max_running = 1;
  Start();
  runner_->Close();
  Submitted(Request("first", 5, 1));
  runner_->WaitUntilHeld();
  GenerateRequest low = Request("low", 5, 1);
  low.priority = -1;
  GenerateRequest high = Request("high", 5, 1);
  high.priority = 1;
  const auto low_sink = Submitted(low);
  const auto high_sink = Submitted(high);
  runner_->Allow(2);  // the first, the high one
  high_sink->Wait();
  runner_->WaitUntilHeld();
  EXPECT_EQ(low_sink->record().ends, 0);
  runner_->Open();
  low_sink->Wait();
}

TEST_F(EngineLoopTest, DeadlinesEndWaitingAndRunning) {
  options_.scheduler.max_running = 1;
  Start(/*fake_time=*/true);
  runner_->Close();
  GenerateRequest request = Request("runs", 5, 500, 3);
  request.deadline = clock_.Now() + absl::Seconds(3);
  const auto runs = Submitted(request);
  runner_->WaitUntilHeld();
  request = Request("waits", 5, 5);
  request.deadline = clock_.Now() + absl::Seconds(2);
  const auto waits = Submitted(request);
  request = Request("queued", 5, 5);
  request.max_queue_time = absl::Seconds(2);
  const auto queued = Submitted(request);
  clock_.Advance(absl::Seconds(2));
  runner_->Allow(1);
  ExpectError(waits->Wait(), absl::StatusCode::kDeadlineExceeded, "");
  ExpectError(queued->Wait(), absl::StatusCode::kResourceExhausted, "QUEUE_TIMEOUT");
  EXPECT_EQ(runs->record().ends, 0);
  clock_.Advance(absl::Seconds(1));
  runner_->Open();
  ExpectError(runs->Wait(), absl::StatusCode::kDeadlineExceeded, "");
  EXPECT_GT(runs->record().error_usage.completion_tokens, 0);
  ExpectEmpty();
}

TEST_F(EngineLoopTest, TimingsAddUp) {
  options_.scheduler.max_running = 1;
  Start(/*fake_time=*/true);
  runner_->Close();
  const auto first = Submitted(Request("1", 5, 1));
  runner_->WaitUntilHeld();
  const auto second = Submitted(Request("2", 5, 2));
  clock_.Advance(absl::Seconds(1));
  runner_->Allow(1);
  first->Wait();
  runner_->WaitUntilHeld();
  clock_.Advance(absl::Seconds(10));
  runner_->Allow(1);
  second->WaitForEvents(1);
  runner_->WaitUntilHeld();
  clock_.Advance(absl::Seconds(100));
  runner_->Open();
  const FinishedEvent finished = *second->Wait().finished;
  EXPECT_EQ(finished.timings.queue, absl::Seconds(1));
  EXPECT_EQ(finished.timings.prefill, absl::Seconds(10));
  EXPECT_EQ(finished.timings.decode, absl::Seconds(100));
  EXPECT_EQ(finished.timings.total, absl::Seconds(111));
}

TEST_F(EngineLoopTest, ARunnerThatFailsEndsEveryoneAndLetsNobodyIn) {
  options_.scheduler.max_running = 1;
  Start();
  runner_->Close();
  absl::StatusOr<std::function<void()>> kept = loop_->Reserve();
  ASSERT_TRUE(kept.ok());
  const auto runs = Submitted(Request("runs", 5, 5));
  runner_->WaitUntilHeld();
  const auto waits = Submitted(Request("waits", 5, 5));
  const auto late = Submitted(Request("late", 5, 5));  // the thread has not seen it
  runner_->Fail();
  for (const auto& sink : {runs, waits, late}) {
    const RecordingSink::Record record = sink->Wait();
    ExpectError(record, absl::StatusCode::kUnavailable, "ENGINE_ERROR");
    EXPECT_THAT(std::string(record.error.message()), HasSubstr("the device fell off"));
  }
  EXPECT_EQ(runner_->steps(), 1) << "a failed device is left alone";
  EXPECT_TRUE(loop_->stats().failed);
  EXPECT_TRUE(absl::IsUnavailable(loop_->Reserve().status()));
  const auto refused = std::make_shared<RecordingSink>();
  EXPECT_TRUE(absl::IsUnavailable(loop_->Submit(*std::move(kept), Request("kept", 5, 5), refused)));
  EXPECT_EQ(refused->record().ends, 0);
  ExpectEmpty();
}

TEST_F(EngineLoopTest, BrokenLogitsEndOnlyTheirRequest) {
  Start();
  runner_->Close();
  GenerateRequest broken = Request("broken", 5, 5);
  broken.prompt.back() = HashRunner::kPoison;
  const GenerateRequest whole = Request("whole", 5, 30, 4);
  const auto broken_sink = Submitted(broken);
  const auto whole_sink = Submitted(whole);
  runner_->Open();
  ExpectError(broken_sink->Wait(), absl::StatusCode::kInternal, "ENGINE_ERROR");
  EXPECT_EQ(whole_sink->Wait().text, Alone(whole).text);
  EXPECT_FALSE(loop_->stats().failed);
  ExpectEmpty();
}

TEST_F(EngineLoopTest, DrainingKeepsThoseThatHaveAPlace) {
  Start();
  runner_->Close();
  const auto runs = Submitted(Request("runs", 5, 5));
  absl::StatusOr<std::function<void()>> place = loop_->Reserve();
  ASSERT_TRUE(place.ok());
  loop_->StartDraining();
  const absl::Status refused = loop_->Reserve().status();
  EXPECT_TRUE(absl::IsUnavailable(refused));
  EXPECT_EQ(ErrorReason(refused), "DRAINING");
  const auto kept = std::make_shared<RecordingSink>();
  ASSERT_TRUE(loop_->Submit(*std::move(place), Request("kept", 5, 5), kept).ok());
  EXPECT_FALSE(loop_->WaitUntilIdle(absl::Milliseconds(10)));
  runner_->Open();
  EXPECT_TRUE(loop_->WaitUntilIdle(absl::Seconds(120)));
  EXPECT_TRUE(runs->record().finished.has_value());  // idle: the ends are delivered
  EXPECT_TRUE(kept->record().finished.has_value());
}

TEST_F(EngineLoopTest, StopEndsEveryoneOnceAndLetsNobodyIn) {
  options_.scheduler.max_running = 1;
  Start();
  runner_->Close();
  const auto runs = Submitted(Request("runs", 5, 500, 3));
  runner_->WaitUntilHeld();
  const auto waits = Submitted(Request("waits", 5, 5));
  absl::StatusOr<std::function<void()>> place = loop_->Reserve();
  Thread other("stop", [this] { loop_->Stop(); });
  Thread opener("open", [this] {
    SystemClock()->Sleep(absl::Milliseconds(20));
    runner_->Open();
  });
  loop_->Stop();
  other.Join();
  ExpectError(runs->record(), absl::StatusCode::kUnavailable, "DRAINING");
  ExpectError(waits->record(), absl::StatusCode::kUnavailable, "DRAINING");
  const auto refused = std::make_shared<RecordingSink>();
  EXPECT_TRUE(absl::IsUnavailable(loop_->Submit(*std::move(place), Request("x", 5, 5), refused)));
  EXPECT_EQ(refused->record().ends, 0);
  loop_->Cancel("runs");
  loop_->Stop();
  ExpectEmpty();
}

// Counts how often the time is asked for: about twice a turn of the loop.
class CountingClock : public Clock {
 public:
  absl::Time Now() const override {
    ++calls;
    return SystemClock()->Now();
  }
  void Sleep(absl::Duration duration) override { SystemClock()->Sleep(duration); }
  mutable std::atomic<int> calls = 0;
};

TEST_F(EngineLoopTest, AnIdleLoopSleepsAndItsHeartGoesOn) {
  CountingClock clock;
  HashRunner runner(options_.scheduler);
  EngineLoop loop(options_, &runner, &clock, nullptr);
  const int before = clock.calls;
  SystemClock()->Sleep(absl::Milliseconds(2500));
  const int turns = clock.calls - before;
  EXPECT_GE(turns, 1);
  EXPECT_LE(turns, 10);
  EXPECT_LT(loop.stats().heartbeat_age, absl::Seconds(2));
}

// Adds up what it is told.
class CountingStats : public StatsSink {
 public:
  void OnStep(absl::Duration, int tokens, int sequences) override {
    step_tokens += tokens;
    max_sequences = std::max(max_sequences, sequences);
  }
  void OnFirstToken(absl::Duration) override { ++first_tokens; }
  void OnNextToken(absl::Duration) override { ++next_tokens; }
  void OnEnd(const absl::Status& status, FinishReason reason, const RequestUsage&,
             const RequestTimings&) override {
    ++ends[status.ok() ? absl::StrCat("reason ", reason) : absl::StrCat("code ", status.code())];
  }
  void OnCancelled(absl::Duration to_free) override {
    EXPECT_GE(to_free, absl::ZeroDuration());
    ++cancelled;
  }
  int step_tokens = 0, max_sequences = 0, first_tokens = 0, next_tokens = 0, cancelled = 0;
  std::map<std::string, int> ends;
};

TEST_F(EngineLoopTest, StatsSinkHearsOfEverythingOnce) {
  stats_ = std::make_unique<CountingStats>();
  const auto& stats = static_cast<const CountingStats&>(*stats_);
  Start();
  runner_->Close();
  const GenerateRequest request = Request("a", 5, 6, 2);
  const Expected expected = Alone(request);
  GenerateRequest broken = Request("broken", 5, 5);
  broken.prompt.back() = HashRunner::kPoison;
  const auto a = Submitted(request);
  const auto b = Submitted(broken);
  const auto c = Submitted(Request("cancelled", 500, 5));
  runner_->WaitUntilHeld();
  loop_->Cancel("cancelled");
  runner_->Open();
  for (const auto& sink : {a, b, c}) sink->Wait();
  loop_->Stop();  // from here on the counters are ours
  EXPECT_EQ(stats.first_tokens, 1);
  EXPECT_EQ(stats.next_tokens, expected.completion_tokens - 1);
  EXPECT_EQ(stats.cancelled, 1);
  EXPECT_GE(stats.max_sequences, 2);  // the first step may have begun before the others came
  const std::map<std::string, int> ends = {{absl::StrCat("reason ", expected.reason), 1},
                                           {absl::StrCat("reason ", FinishReason::kCancelled), 1},
                                           {absl::StrCat("code ", absl::StatusCode::kInternal), 1}};
  EXPECT_EQ(stats.ends, ends);
}

}  // namespace
}  // namespace transmla
