#include "engine/serve/batch_builder.h"

#include <algorithm>

#include "absl/types/span.h"

namespace transmla {

void BuildBatch(const Plan& plan, RaggedBatch& batch) {
  batch.token_ids.clear();
  batch.positions.clear();
  batch.sequence_starts.assign(1, 0);
  batch.pages.clear();
  batch.page_starts.assign(1, 0);
  batch.logit_tokens.clear();
  batch.expanded.clear();
  for (const Plan::Chunk& chunk : plan.chunks) {
    const Sequence& sequence = *chunk.sequence;
    for (int i = 0; i < chunk.tokens; ++i) {
      const size_t at = static_cast<size_t>(sequence.computed) + i;
      batch.token_ids.push_back(at < sequence.tokens.size()
                                    ? sequence.tokens[at]
                                    : sequence.draft[at - sequence.tokens.size()]);
      batch.positions.push_back(sequence.computed + i);
    }
    // The token of the batch that has this position, or the nearest that the chunk has.
    const auto token_at = [&](int position) {
      return batch.sequence_starts.back() +
             std::clamp(position - sequence.computed, 0, chunk.tokens);
    };
    batch.expanded.push_back({token_at(sequence.expanded_begin), token_at(sequence.expanded_end)});
    batch.sequence_starts.push_back(batch.tokens());
    // Only the pages that positions of this chunk can see.
    const absl::Span<const PageId> pages =
        sequence.table.pages().subspan(0, BlockTable::PagesFor(sequence.computed + chunk.tokens));
    batch.pages.insert(batch.pages.end(), pages.begin(), pages.end());
    batch.page_starts.push_back(static_cast<int32_t>(batch.pages.size()));
    for (int i = chunk.logits; i > 0; --i) batch.logit_tokens.push_back(batch.tokens() - i);
  }
}

}  // namespace transmla
