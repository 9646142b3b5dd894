// Plan: what one step computes.
#ifndef TRANSMLA_ENGINE_SERVE_PLAN_H_
#define TRANSMLA_ENGINE_SERVE_PLAN_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"

#include "engine/serve/sequence.h"

namespace transmla {

struct Plan {
  // Tokens [sequence->computed, sequence->computed + tokens) of a running sequence, whose pages
  // exist; the last `drafts` of them are not its own yet, but the first of its draft.
  struct Chunk {
    Sequence* sequence = nullptr;
    int tokens = 0;
    int drafts = 0;
    int logits = 0;        // of the last so many tokens, logits are wanted
    bool samples = false;  // the chunk reaches the sequence's last token: one is drawn
  };
  std::vector<Chunk> chunks;

  // Sequences that ran out of time; finished already.
  struct Expired {
    uint64_t number = 0;
    absl::Status status;  // DeadlineExceeded, or ResourceExhausted for the time in the queue
  };
  std::vector<Expired> expired;

  int TotalTokens() const {
    int total = 0;
    for (const Chunk& chunk : chunks) total += chunk.tokens;
    return total;
  }
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_SERVE_PLAN_H_
