// RaggedBatch describes one step: which tokens of which sequences are computed, and where their
// caches lie.
//
// Sequences stand one after the other; sequence s owns tokens [sequence_starts[s],
// sequence_starts[s + 1]), which are consecutive positions of it. A prompt chunk has many tokens, a
// decode has one; both may share a step. Attention of a token sees its sequence's positions 0 … its
// own.
#ifndef TRANSMLA_ENGINE_BACKEND_RAGGED_BATCH_H_
#define TRANSMLA_ENGINE_BACKEND_RAGGED_BATCH_H_

#include <cstdint>
#include <vector>

#include "engine/base/page.h"

namespace transmla {

// Tokens [begin, end) of a step.
struct TokenRange {
  int32_t begin = 0;
  int32_t end = 0;

  int tokens() const { return end - begin; }
};

struct RaggedBatch {
  std::vector<int32_t> token_ids;        // [tokens], each in [0, vocab_size)
  std::vector<int32_t> positions;        // [tokens], position in the sequence, from 0
  std::vector<int32_t> sequence_starts;  // [sequences + 1], ascending, first 0, last tokens
  std::vector<PageId> pages;             // page tables of all sequences, one after the other
  std::vector<int32_t> page_starts;  // [sequences + 1] into `pages`; table s covers all positions
                                     // of s up to its last
  std::vector<int32_t>
      logit_tokens;  // indices into tokens, ascending: those whose logits Finish returns
  // MLA: those of each sequence that attend in expanded form, [sequences], within the sequence's
  // own; the others are absorbed. Empty: all are.
  std::vector<TokenRange> expanded;

  int tokens() const { return static_cast<int>(token_ids.size()); }
  int sequences() const {
    return sequence_starts.empty() ? 0 : static_cast<int>(sequence_starts.size()) - 1;
  }
  int expanded_tokens() const {
    int total = 0;
    for (const TokenRange& range : expanded) total += range.tokens();
    return total;
  }
};

// Upper bounds of every step, so that all workspace is allocated once.
struct StepLimits {
  int max_tokens = 0;          // tokens of a step
  int max_sequences = 0;       // sequences of a step
  int max_logit_tokens = 0;    // rows of logits of a step
  int max_context_tokens = 0;  // positions of one sequence
  // Whether tokens may attend in expanded form; of a model without latents that means nothing.
  bool expanded_attention = false;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_BACKEND_RAGGED_BATCH_H_
