// EngineLoop: the thread that owns one model. Requests come in through a bounded queue; each step
// runs what the scheduler plans, draws tokens and sends events. An idle loop sleeps.
//
// Public methods are thread-safe. The runner, clock, stats sink and spill file must outlive it.
#ifndef TRANSMLA_ENGINE_SERVE_ENGINE_LOOP_H_
#define TRANSMLA_ENGINE_SERVE_ENGINE_LOOP_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"

#include "engine/base/clock.h"
#include "engine/base/thread.h"
#include "engine/sample/sampler.h"
#include "engine/serve/generation.h"
#include "engine/serve/request.h"
#include "engine/serve/scheduler.h"
#include "engine/serve/spill_file.h"
#include "engine/serve/stats.h"
#include "engine/serve/step_runner.h"

namespace transmla {

struct EngineLoopOptions {
  SchedulerOptions scheduler;
  int max_queued_requests = 128;
  int64_t max_queued_tokens = 1 << 20;
  GenerationContext context;
  // For the statistics only.
  int64_t bytes_per_page = 0;
  int64_t cache_bytes_per_token = 0;
  int64_t gqa_equivalent_bytes_per_token = 0;
};

class EngineLoop {
 public:
  EngineLoop(const EngineLoopOptions& options, StepRunner* runner, Clock* clock,
             StatsSink* stats_sink, SpillFile* spill = nullptr);
  ~EngineLoop();

  // As in engine.h. A place is a function that gives it back, to be called once.
  absl::StatusOr<std::function<void()>> Reserve();
  absl::Status Submit(std::function<void()> give_back, GenerateRequest request,
                      std::shared_ptr<EventSink> sink);
  void Cancel(const std::string& id);
  EngineStats stats() const;
  void StartDraining();
  bool WaitUntilIdle(absl::Duration timeout);
  void Stop();

 private:
  struct Submission {
    std::unique_ptr<Generation> generation;
    std::function<void()> give_back;
  };
  struct Cancellation {
    std::string id;
    absl::Time time;
  };
  struct Live {
    std::unique_ptr<Generation> generation;
    std::function<void()> give_back;  // until it starts
    Sequence* sequence = nullptr;     // the scheduler's; gone once the scheduler has expired it
  };

  absl::Status Check(const GenerateRequest& request) const;

  // The thread.
  void Loop();
  void Beat();  // shows that the thread is alive
  bool Wait(std::vector<Submission>& submissions, std::vector<Cancellation>& cancellations);
  // Not OK if nobody may go on: the engine has failed or is stopped.
  absl::Status WhyEnd() const;
  void Admit(Submission submission);
  void Step();
  // Guesses for the decodes of the next step.
  void SetDrafts();
  void Sample(const Plan& plan, absl::Span<const float> logits);
  // The prompt's log-probabilities from a chunk's first rows. Returns how many rows that were.
  absl::StatusOr<int> TakePrompt(const Plan::Chunk& chunk, Live& live,
                                 absl::Span<const float> logits);
  // Draws the next token and, as long as the draft was right, those behind it.
  absl::Status TakeTokens(const Plan::Chunk& chunk, Live& live, absl::Span<const float> logits);
  // False if it was the last.
  bool TakeToken(uint64_t number, Live& live, const transmla::Sample& sample, absl::Time now);
  void Started(const Plan& plan, absl::Time now);
  // The backend is dead: everybody ends, and nobody comes in any more.
  void Fail(const absl::Status& status);
  // Each sends the one terminal event. The pages are free, the statistics say so and the id may be
  // used again before the client hears of the end.
  void EndWith(uint64_t number, FinishedEvent event);
  void EndWith(uint64_t number, const absl::Status& status);
  std::unique_ptr<Generation> Forget(uint64_t number);
  void EndAll(const absl::Status& status);
  void Delivered();
  void PublishStats() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const EngineLoopOptions options_;
  StepRunner* const runner_;
  Clock* const clock_;
  StatsSink* const stats_sink_;  // may be null
  SpillFile* const spill_;       // may be null

  absl::Mutex join_mutex_;  // held while the thread is joined
  mutable absl::Mutex mutex_;
  std::vector<Submission> submissions_ ABSL_GUARDED_BY(mutex_);
  std::vector<Cancellation> cancellations_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_set<std::string> live_ids_ ABSL_GUARDED_BY(mutex_);
  int places_ ABSL_GUARDED_BY(mutex_) = 0;  // taken and not started
  int64_t queued_tokens_ ABSL_GUARDED_BY(mutex_) = 0;
  int undelivered_ends_ ABSL_GUARDED_BY(mutex_) =
      0;  // requests whose terminal event is still to come
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
  EngineStats stats_ ABSL_GUARDED_BY(mutex_);
  std::atomic<int64_t> heartbeat_ns_;

  // The engine thread's own.
  Scheduler scheduler_;
  Sampler sampler_;
  RaggedBatch batch_;
  uint64_t next_number_ = 1;
  absl::flat_hash_map<uint64_t, Live> live_;
  absl::flat_hash_map<std::string, uint64_t> numbers_;
  int64_t prompt_tokens_computed_ = 0;
  int64_t prompt_tokens_cached_ = 0;
  int64_t generation_tokens_ = 0;
  int64_t draft_tokens_ = 0;
  int64_t accepted_draft_tokens_ = 0;
  int64_t steps_ = 0;

  Thread thread_;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_SERVE_ENGINE_LOOP_H_
