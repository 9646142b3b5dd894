// Sequence: one generation as the scheduler sees it: tokens, pages, limits.
#ifndef TRANSMLA_ENGINE_SERVE_SEQUENCE_H_
#define TRANSMLA_ENGINE_SERVE_SEQUENCE_H_

#include <cstdint>
#include <string>
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

  std::string tenant;  // whose turn it is, among sequences of one priority

  std::vector<int32_t> tokens;  // prompt, then what was generated
  std::vector<int32_t> draft;   // guessed to come next; checked at the next step, if there is room
  // Positions of the prompt whose logits are wanted, one after the other; never found in the prefix
  // index.
  int prompt_logits = 0;
  int prompt_logits_done = 0;
  int computed = 0;  // the first so many tokens are in the cache
  BlockTable table;
  // Positions that attend in expanded form (MlaExpandedAttention), the same ones whenever they are
  // computed; whole blocks of the prompt. None: begin = end.
  int expanded_begin = 0;
  int expanded_end = 0;
  bool prefix_cache = true;      // uses pages that others have filled, and leaves its own to others
  int indexed_pages = 0;         // its first so many pages are in the prefix index
  PrefixId root = kNoPrefix;     // before its first page: sequences share only below one root
  PrefixId prefix = kNoPrefix;   // of these pages; the root if there are none
  int cached_prompt_tokens = 0;  // found in the cache when it first ran
  SequenceState state = SequenceState::kWaiting;
  bool started = false;  // has run at least once
  int preemptions = 0;

  // From which position on logits are wanted.
  int FirstLogit() const {
    return prompt_logits_done < prompt_logits ? prompt_logits_done
                                              : static_cast<int>(tokens.size()) - 1;
  }
  // A decode computes one token, the last.
  bool Decodes() const { return computed + 1 == static_cast<int>(tokens.size()); }
};

// Whether `a` goes before `b`: priority, then age.
inline bool GoesBefore(const Sequence& a, const Sequence& b) {
  return a.priority != b.priority ? a.priority > b.priority : a.number < b.number;
}

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_SERVE_SEQUENCE_H_
