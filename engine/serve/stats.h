// Plain counters and latencies of one engine; server/metrics gives them Prometheus names.
#ifndef TRANSMLA_ENGINE_SERVE_STATS_H_
#define TRANSMLA_ENGINE_SERVE_STATS_H_

#include <cstdint>

#include "absl/time/time.h"

#include "engine/serve/request.h"

namespace transmla {

// A snapshot; each field by itself is exact, the whole is not one instant.
struct EngineStats {
  int64_t requests_running = 0;
  int64_t requests_waiting = 0;
  int64_t queued_prompt_tokens = 0;  // of waiting requests

  int64_t pages_total = 0;
  int64_t pages_used = 0;      // held by live requests
  int64_t pages_shared = 0;    // of those used, by several
  int64_t pages_kept = 0;      // held by nobody, with a prefix that a request may find
  int64_t pages_spilled = 0;   // contents in the spill file
  int64_t pages_restored = 0;  // since start; that came back from there
  int64_t spill_failures = 0;  // since start; that could not be written, or came back otherwise
  int64_t bytes_per_page = 0;
  int64_t cache_bytes_per_token = 0;
  int64_t gqa_equivalent_bytes_per_token =
      0;  // what the unconverted model would need, same cache type

  int64_t prompt_tokens_computed = 0;  // since start
  int64_t prompt_tokens_cached = 0;    // since start; found in the prefix cache
  int64_t prefix_queried_tokens = 0;   // since start; of admissions, also after a preemption
  int64_t prefix_hit_tokens = 0;       // since start; of those, found
  int64_t generation_tokens = 0;       // since start
  int64_t draft_tokens = 0;            // since start; guessed and checked
  int64_t accepted_draft_tokens = 0;   // since start; of those, right
  int64_t preemptions = 0;             // since start
  int64_t steps = 0;                   // since start

  absl::Duration heartbeat_age;  // since the engine thread last showed itself alive
  bool failed = false;           // the backend died; every request ends with Unavailable
};

// Observations that are not sums; called on the engine's thread, must not block.
class StatsSink {
 public:
  virtual ~StatsSink() = default;
  virtual void OnStep(absl::Duration duration, int tokens, int sequences) = 0;
  virtual void OnFirstToken(absl::Duration since_arrival) = 0;
  virtual void OnNextToken(absl::Duration since_previous) = 0;
  // Terminal, once a request: ok with `reason`, or an error status.
  virtual void OnEnd(const absl::Status& status, FinishReason reason, const RequestUsage& usage,
                     const RequestTimings& timings) = 0;
  // Cancel call to pages freed.
  virtual void OnCancelled(absl::Duration to_free) = 0;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_SERVE_STATS_H_
