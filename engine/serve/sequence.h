// Sequence: one generation as the scheduler sees it: tokens, pages, limits.
#ifndef TRANSMLA_ENGINE_SERVE_SEQUENCE_H_
#define TRANSMLA_ENGINE_SERVE_SEQUENCE_H_

#include <cstdint>
#include <vector>

#include "absl/time/time.h"

#include "engine/cache/block_table.h"
#include "engine/cache/prefix_index.h"

namespace transmla {

enum class SequenceState {
  kWaiting,  // holds no page. → kRunning when pages and budget suffice; → kFinished if cancelled or
             // out of time
  kRunning,   // owns pages for its computed tokens. → kWaiting if preempted; → kFinished
  kFinished,  // terminal: pages released
};

// Plain data; the scheduler moves its state.
struct Sequence {
  uint64_t number = 0;  // order of arrival
  int priority = 0;     // higher first
  uint64_t after = 0;   // waits while this sequence, of the same prompt, computes it; 0: none
  absl::Time deadline = absl::InfiniteFuture();
  absl::Time queue_deadline = absl::InfiniteFuture();  // must have run by then

  std::vector<int32_t> tokens;  // prompt, then what was generated
  int computed = 0;             // the first so many tokens are in the cache
  BlockTable table;
  bool prefix_cache = true;      // uses pages that others have filled, and leaves its own to others
  int indexed_pages = 0;         // its first so many pages are in the prefix index
  PrefixId prefix = kNoPrefix;   // of these pages
  int cached_prompt_tokens = 0;  // found in the cache when it first ran
  SequenceState state = SequenceState::kWaiting;
  bool started = false;  // has run at least once
  int preemptions = 0;

  // A decode computes one token, the last.
  bool Decodes() const { return computed + 1 == static_cast<int>(tokens.size()); }
};

// Whether `a` goes before `b`: priority, then age.
inline bool GoesBefore(const Sequence& a, const Sequence& b) {
  return a.priority != b.priority ? a.priority > b.priority : a.number < b.number;
}

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_SERVE_SEQUENCE_H_
