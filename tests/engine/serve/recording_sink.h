// RecordingSink keeps a request's events and fails the test on any after the terminal one.
// Thread-safe.
#ifndef TRANSMLA_TESTS_ENGINE_SERVE_RECORDING_SINK_H_
#define TRANSMLA_TESTS_ENGINE_SERVE_RECORDING_SINK_H_

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "gtest/gtest.h"

#include "engine/serve/request.h"

namespace transmla {

class RecordingSink : public EventSink {
 public:
  // What came so far.
  struct Record {
    std::string text;
    std::vector<TokenEvent> events;
    std::vector<TokenInfo> prompt;  // from the second token on
    std::optional<FinishedEvent> finished;
    absl::Status error;
    RequestUsage error_usage;
    int ends = 0;
  };

  void OnTokens(TokenEvent event) override {
    absl::MutexLock lock(&mutex_);
    EXPECT_EQ(record_.ends, 0) << "tokens after the end";
    const int before = record_.events.empty() ? 0 : record_.events.back().usage.completion_tokens;
    EXPECT_EQ(event.usage.completion_tokens, before + static_cast<int>(event.tokens.size()));
    record_.text += event.text;
    record_.events.push_back(std::move(event));
  }
  void OnPrompt(PromptEvent event) override {
    absl::MutexLock lock(&mutex_);
    EXPECT_TRUE(record_.events.empty()) << "the prompt after its completion";
    EXPECT_EQ(event.first, 1 + static_cast<int>(record_.prompt.size()));
    record_.prompt.insert(record_.prompt.end(), event.tokens.begin(), event.tokens.end());
  }
  void OnFinished(FinishedEvent event) override {
    absl::MutexLock lock(&mutex_);
    EXPECT_EQ(++record_.ends, 1) << "a second end";
    record_.finished = std::move(event);
  }
  void OnError(const absl::Status& status, const RequestUsage& usage) override {
    EXPECT_FALSE(status.ok());
    absl::MutexLock lock(&mutex_);
    EXPECT_EQ(++record_.ends, 1) << "a second end";
    record_.error = status;
    record_.error_usage = usage;
  }

  Record record() const {
    absl::MutexLock lock(&mutex_);
    return record_;
  }
  // The whole record once the request has ended; the test fails if it does not.
  Record Wait() const {
    absl::MutexLock lock(&mutex_);
    const auto ended = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return record_.ends > 0; };
    EXPECT_TRUE(mutex_.AwaitWithTimeout(absl::Condition(&ended), absl::Seconds(120)))
        << "no terminal event";
    return record_;
  }
  // Waits for the first `count` token events.
  void WaitForEvents(size_t count) const {
    absl::MutexLock lock(&mutex_);
    const auto enough = [this, count]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
      return record_.events.size() >= count || record_.ends > 0;
    };
    EXPECT_TRUE(mutex_.AwaitWithTimeout(absl::Condition(&enough), absl::Seconds(120)));
  }

 private:
  mutable absl::Mutex mutex_;
  Record record_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace transmla

#endif  // TRANSMLA_TESTS_ENGINE_SERVE_RECORDING_SINK_H_
