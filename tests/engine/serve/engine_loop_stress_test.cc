// Many threads at once. Meant for ThreadSanitizer; true without it too.
#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "engine/base/random.h"
#include "engine/base/thread.h"
#include "engine/grammar/constraint_compiler.h"
#include "tests/engine/serve/engine_loop_fixture.h"

namespace transmla {
namespace {

struct Sent {
  GenerateRequest request;
  std::shared_ptr<RecordingSink> sink;
  absl::Status submitted;
};

class EngineLoopStressTest : public EngineLoopTest {
 protected:
  static constexpr uint64_t kSeed = 17;

  EngineLoopStressTest() {
    // Tiny, so that sequences are preempted.
    options_.scheduler = {.max_step_tokens = 50, .max_running = 5, .pages = 9};
    options_.max_queued_requests = 6;
    options_.max_queued_tokens = 700;
    options_.context.max_context_tokens = 8 * kPageTokens;
  }

  // The i-th request of a thread. Some draw at random, some stop at a string, some have priorities.
  static GenerateRequest Draw(int thread, int i) {
    Random random = Random(kSeed).Split(thread).Split(i);
    const auto prompt = static_cast<int>(1 + random.Below(random.Below(4) == 0 ? 200 : 30));
    GenerateRequest request = Request(absl::StrCat(thread, "/", i), prompt,
                                      static_cast<int>(1 + random.Below(200)), random());
    if (random.Below(2) == 0) {
      request.sampling = {.temperature = 0.8f, .top_k = 50, .top_p = 0.95f, .seed = random()};
    }
    if (random.Below(3) == 0) request.stop.stop_strings = {"ab"};
    request.priority = static_cast<int>(random.Below(3));
    return request;
  }

  // Sends `count` requests, waiting for room; stops when there never will be.
  std::vector<Sent> Send(int thread, int count, bool cancel) {
    Random random = Random(kSeed).Split(100 + thread);
    std::vector<Sent> sent;
    while (static_cast<int>(sent.size()) < count) {
      Sent next{.request = Draw(thread, static_cast<int>(sent.size())),
                .sink = std::make_shared<RecordingSink>()};
      next.submitted = Submit(next.request, next.sink);
      if (absl::IsResourceExhausted(next.submitted)) {
        EXPECT_EQ(next.sink->record().ends, 0);
        SystemClock()->Sleep(absl::Milliseconds(1));
        continue;
      }
      const bool over = !next.submitted.ok();
      sent.push_back(std::move(next));
      if (over) break;
      if (cancel && random.Below(2) == 0) {
        loop_->Cancel(sent[random.Below(sent.size())].request.id);
      }
    }
    return sent;
  }

  // Runs `body(thread)` on that many threads and joins what they sent.
  std::vector<Sent> OnThreads(int count, const std::function<std::vector<Sent>(int)>& body) {
    std::vector<std::vector<Sent>> results(count);
    {
      std::vector<Thread> threads;
      for (int i = 0; i < count; ++i) {
        threads.emplace_back(absl::StrCat("sender", i), [&, i] { results[i] = body(i); });
      }
    }
    std::vector<Sent> all;
    for (std::vector<Sent>& result : results) {
      std::move(result.begin(), result.end(), std::back_inserter(all));
    }
    return all;
  }

  // One terminal event if and only if Submit returned OK; who was not ended early has the text of a
  // request alone.
  static int CheckAll(const std::vector<Sent>& all) {
    int completed = 0;
    for (const Sent& sent : all) {
      const RecordingSink::Record record = sent.sink->record();
      EXPECT_EQ(record.ends, sent.submitted.ok() ? 1 : 0) << sent.request.id;
      if (!record.finished.has_value() || record.finished->reason == FinishReason::kCancelled) {
        continue;
      }
      const Expected expected = Alone(sent.request);
      EXPECT_EQ(record.text, expected.text) << sent.request.id;
      EXPECT_EQ(record.finished->reason, expected.reason);
      EXPECT_EQ(record.finished->usage.completion_tokens, expected.completion_tokens);
      ++completed;
    }
    return completed;
  }
};

TEST_F(EngineLoopStressTest, ACrowdGetsTheTextsOfEachAlone) {
  Start();
  const std::vector<Sent> all = OnThreads(4, [this](int i) { return Send(i, 40, false); });
  ExpectEmpty();
  ASSERT_EQ(all.size(), 160);
  EXPECT_EQ(CheckAll(all), 160);
}

TEST_F(EngineLoopStressTest, CancellationsHitTheirOwnRequestOnly) {
  Start();
  const std::vector<Sent> all = OnThreads(4, [this](int i) {
    std::vector<Sent> sent = Send(i, 40, true);
    // Half of what is left.
    for (size_t k = 0; k < sent.size(); k += 2) loop_->Cancel(sent[k].request.id);
    return sent;
  });
  ExpectEmpty();
  ASSERT_EQ(all.size(), 160);
  const int completed = CheckAll(all);
  EXPECT_GT(completed, 5);
  EXPECT_LT(completed, 160);
}

// Constraints compile on the senders' threads and are stepped through on the engine's: those of the
// same words are one object.
TEST_F(EngineLoopStressTest, ACrowdSharesConstraints) {
  Start();
  ConstraintCompiler compiler(TestVocabulary);
  const std::vector<Sent> all = OnThreads(4, [&](int thread) {
    std::vector<Sent> sent;
    while (sent.size() < 40) {
      const int i = static_cast<int>(sent.size());
      Sent next{.request = Draw(thread, i), .sink = std::make_shared<RecordingSink>()};
      next.request.stop.max_tokens = 100;
      next.request.stop.stop_strings.clear();
      const ConstraintSpec spec = {.kind = ConstraintSpec::Kind::kRegex,
                                   .text = absl::StrCat("(ab|ba){3,", 4 + i % 3, "}!"),
                                   .choices = {}};
      absl::StatusOr<std::shared_ptr<Constraint>> constraint = compiler.Compile(spec);
      EXPECT_TRUE(constraint.ok()) << constraint.status();
      next.request.constraint = *constraint;
      next.submitted = Submit(next.request, next.sink);
      if (next.submitted.ok()) {
        sent.push_back(std::move(next));
      } else {
        EXPECT_TRUE(absl::IsResourceExhausted(next.submitted)) << next.submitted;
        SystemClock()->Sleep(absl::Milliseconds(1));
      }
    }
    return sent;
  });
  ExpectEmpty();
  for (const Sent& sent : all) {
    const RecordingSink::Record record = sent.sink->record();
    EXPECT_EQ(record.ends, 1);
    EXPECT_THAT(record.text, testing::MatchesRegex("(ab|ba)+!")) << sent.request.id;
    EXPECT_EQ(record.text.size() % 2, 1);
    EXPECT_LE(record.text.size(), 13);
  }
}

TEST_F(EngineLoopStressTest, StatsAreSaneWhileAllGoesOn) {
  Start();
  std::atomic<bool> over = false;
  Thread watcher("watcher", [&] {
    while (!over) {
      const EngineStats stats = loop_->stats();
      EXPECT_GE(stats.requests_waiting, 0);
      EXPECT_GE(stats.queued_prompt_tokens, 0);
      EXPECT_LE(stats.requests_running, options_.scheduler.max_running);
      EXPECT_LE(stats.pages_used, stats.pages_total);
      SystemClock()->Sleep(absl::Microseconds(200));
    }
  });
  const std::vector<Sent> all = OnThreads(2, [this](int i) { return Send(i, 30, true); });
  ExpectEmpty();
  over = true;
  watcher.Join();
  CheckAll(all);
}

TEST_F(EngineLoopStressTest, DrainWhileAllSend) {
  Start();
  Thread drainer("drainer", [this] {
    Eventually([this] { return loop_->stats().generation_tokens > 1000; });
    loop_->StartDraining();
  });
  const std::vector<Sent> all = OnThreads(4, [this](int i) { return Send(i, 1000, true); });
  drainer.Join();
  ExpectEmpty();
  EXPECT_GT(CheckAll(all), 0);
  EXPECT_LT(all.size(), 4000);
}

TEST_F(EngineLoopStressTest, StopWhileAllSend) {
  for (int round = 0; round < 5; ++round) {
    Start();
    const auto stop = [this, round] {
      Eventually([this, round] { return loop_->stats().generation_tokens > 100 * round; });
      loop_->Stop();
    };
    Thread first("stop1", stop), second("stop2", stop);
    const std::vector<Sent> all = OnThreads(4, [this](int i) { return Send(i, 1000, true); });
    first.Join();
    second.Join();
    CheckAll(all);  // at once: Stop has ended everyone
    ExpectEmpty();
    loop_ = nullptr;
  }
}

TEST_F(EngineLoopStressTest, FailWhileAllSend) {
  Start();
  Thread breaker("breaker", [this] {
    Eventually([this] { return loop_->stats().generation_tokens > 500; });
    runner_->Fail();
  });
  const std::vector<Sent> all = OnThreads(4, [this](int i) { return Send(i, 1000, true); });
  breaker.Join();
  ExpectEmpty();
  CheckAll(all);
  for (const Sent& sent : all) {
    const RecordingSink::Record record = sent.sink->record();
    if (!record.error.ok()) {
      EXPECT_TRUE(absl::IsUnavailable(record.error)) << record.error;
    }
  }
}

}  // namespace
}  // namespace transmla
