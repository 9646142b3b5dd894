// Attention over latents that are expanded to keys and values of every head: fewer products for
// each pair of tokens than over the latents themselves, at the price of an expansion of the whole
// context in every step. For long prompts of models whose latents are wide
// (engine/model/mla_crossover.h).
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_MLA_EXPANDED_ATTENTION_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_MLA_EXPANDED_ATTENTION_H_

#include <memory>

#include "absl/status/status.h"

#include "engine/backend/cpu/context.h"
#include "engine/backend/cpu/cpu_kv_store.h"
#include "engine/backend/op_args.h"
#include "engine/backend/ragged_batch.h"

namespace transmla::cpu {

// The context is expanded section by section into `section`, which all heads and queries then
// attend to; it is made at the first call, and anew when a model of another shape comes. A token's
// bits depend on its sequence alone, as those of attention.h. InvalidArgument if heads are so many
// or so wide that the workspace does not hold them, ResourceExhausted if there is no memory for a
// section.
absl::Status MlaExpandedAttention(CpuContext& context, const RaggedBatch& batch,
                                  std::unique_ptr<CpuKvStore>& section,
                                  const MlaExpandedAttentionArgs& args);

}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_MLA_EXPANDED_ATTENTION_H_
