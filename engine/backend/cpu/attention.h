// Softmax attention over paged caches, grouped-query and latent alike.
//
// Both are one algorithm over a cache row per token: rows of keys, and rows of values that for MLA
// are the first columns of the keys. All query heads that share a key/value head, times a few
// query tokens, meet each tile of kPageTokens cached tokens together. Few rows read the cache as it
// is, many have its values decoded once for all of them; the bits are the same.
//
// Order of sums: tiles in order within spans of kSpanTokens positions, each with an online softmax
// (arXiv 1805.02867) of its own, and spans merged in order. Spans start at multiples of
// kSpanTokens, so a token's result depends on its sequence alone: neither on the chunk it was
// computed in, nor on how many threads shared the spans.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_ATTENTION_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_ATTENTION_H_

#include "absl/status/status.h"

#include "engine/backend/cpu/context.h"
#include "engine/backend/op_args.h"
#include "engine/backend/ragged_batch.h"

namespace transmla::cpu {

// Positions of a span.
inline constexpr int kSpanTokens = 256;

// InvalidArgument if heads are so many or so wide that the workspace does not hold them.
absl::Status GqaAttention(CpuContext& context, const RaggedBatch& batch,
                          const GqaAttentionArgs& args);
absl::Status MlaAttention(CpuContext& context, const RaggedBatch& batch,
                          const MlaAttentionArgs& args);

}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_ATTENTION_H_
