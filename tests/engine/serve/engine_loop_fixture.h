// For tests of the engine loop: a runner that answers by hash of a sequence's tokens, and what such
// a request must get.
#ifndef TRANSMLA_TESTS_ENGINE_SERVE_ENGINE_LOOP_FIXTURE_H_
#define TRANSMLA_TESTS_ENGINE_SERVE_ENGINE_LOOP_FIXTURE_H_

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "gtest/gtest.h"

#include "engine/serve/engine_loop.h"
#include "tests/engine/serve/recording_sink.h"
#include "tests/engine/serve/test_tokenizer.h"

namespace transmla {

// Keeps one number a cache cell: the hash of the sequence's tokens up to there, made from the cell
// before, which it finds through the page table. Logits are a function of the last cell. So a wrong
// page, position or token changes the text. Checks the form of each batch. Control methods are
// thread-safe.
class HashRunner : public StepRunner {
 public:
  // A sequence that ends with it gets logits that are NaN; never drawn.
  static constexpr int32_t kPoison = TestTokenizer::kControl;

  explicit HashRunner(const SchedulerOptions& options)
      : options_(options), cells_(static_cast<size_t>(options.pages) * kPageTokens) {}

  int vocab_size() const override { return TestTokenizer::kVocabulary; }
  absl::StatusOr<absl::Span<const float>> Run(const RaggedBatch& batch,
                                              absl::FunctionRef<void()> alive) override;

  static uint64_t Chain(uint64_t before, int32_t token);
  // `logits` [kVocabulary].
  static void Logits(uint64_t hash, int32_t last_token, absl::Span<float> logits);

  // From now on a step waits until Allow or Open lets it through.
  void Close() { Allow(0); }
  void Open() { Allow(std::numeric_limits<int64_t>::max()); }
  // Lets exactly `steps` more through.
  void Allow(int64_t steps);
  // Until a step waits.
  void WaitUntilHeld() const;
  // Every step fails from now on, and those that wait.
  void Fail();
  int64_t steps() const;

 private:
  absl::Status Pass();
  void CheckForm(const RaggedBatch& batch) const;
  uint64_t& Cell(const RaggedBatch& batch, int sequence, int position);

  const SchedulerOptions options_;
  std::vector<uint64_t> cells_;  // [pages, kPageTokens]
  std::vector<float> logits_;
  mutable absl::Mutex mutex_;
  int64_t allowed_ ABSL_GUARDED_BY(mutex_) = std::numeric_limits<int64_t>::max();
  bool held_ ABSL_GUARDED_BY(mutex_) = false;
  bool fails_ ABSL_GUARDED_BY(mutex_) = false;
  int64_t steps_ ABSL_GUARDED_BY(mutex_) = 0;
};

// What `request` must get when nothing ends it early, by definition: no pages, no batches, no
// steps.
struct Expected {
  std::string text;
  int completion_tokens = 0;
  FinishReason reason = FinishReason::kLength;
};
Expected Alone(const GenerateRequest& request);

class EngineLoopTest : public testing::Test {
 protected:
  EngineLoopTest();
  ~EngineLoopTest() override;

  // Call after changing options_. The loop runs by clock_ if `fake_time`.
  void Start(bool fake_time = false);
  // A random prompt of bytes, which `seed` alone decides.
  static GenerateRequest Request(const std::string& id, int prompt_tokens, int max_tokens,
                                 uint64_t seed = 1);
  // Reserve, then Submit.
  absl::Status Submit(const GenerateRequest& request, const std::shared_ptr<EventSink>& sink);
  // As above; the test fails if it is refused.
  std::shared_ptr<RecordingSink> Submitted(const GenerateRequest& request);
  // Nobody is left, all pages and places are free.
  void ExpectEmpty();
  // Waits for `condition`; the test fails if it does not come true.
  static void Eventually(const std::function<bool()>& condition);

  EngineLoopOptions options_;
  FakeClock clock_;
  std::unique_ptr<StatsSink> stats_;  // may be null
  std::unique_ptr<HashRunner> runner_;
  std::unique_ptr<EngineLoop> loop_;
};

}  // namespace transmla

#endif  // TRANSMLA_TESTS_ENGINE_SERVE_ENGINE_LOOP_FIXTURE_H_
