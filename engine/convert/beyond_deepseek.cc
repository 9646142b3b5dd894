#include "engine/convert/beyond_deepseek.h"

namespace transmla {

absl::string_view FeatureBeyondDeepseek(const ModelSpec& spec) {
  if (spec.qk_norm) return "norms of queries and keys";
  if (spec.HasWindow()) return "a sliding window";
  if (spec.attention_soft_cap != 0) return "soft caps on attention scores";
  if (spec.final_soft_cap != 0) return "soft caps on logits";
  if (spec.post_norms) return "norms behind attention and feed-forward blocks";
  if (spec.activation != Activation::kSilu) return "an activation other than silu";
  if (spec.embedding_scale != 1) return "scaled embeddings";
  return {};
}

}  // namespace transmla
