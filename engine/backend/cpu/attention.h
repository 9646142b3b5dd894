// Softmax attention over paged caches, grouped-query and latent alike.
//
// Both are one algorithm over a cache row per token (block_attention.h): rows of keys, and rows of
// values that for MLA are the first columns of the keys. A step's queries are cut into blocks; with
// few of them, threads share the spans of a block's context as well. The bits are the same.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_ATTENTION_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_ATTENTION_H_

#include "absl/status/status.h"

#include "engine/backend/cpu/context.h"
#include "engine/backend/op_args.h"
#include "engine/backend/ragged_batch.h"

namespace transmla::cpu {

// InvalidArgument if heads are so many or so wide that the workspace does not hold them.
absl::Status GqaAttention(CpuContext& context, const RaggedBatch& batch,
                          const GqaAttentionArgs& args);
absl::Status MlaAttention(CpuContext& context, const RaggedBatch& batch,
                          const MlaAttentionArgs& args);

}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_ATTENTION_H_
