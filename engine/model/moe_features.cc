#include "engine/model/moe_features.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace transmla {

MoeSpec MoeFeatures(const Config& config) {
  MoeSpec moe;
  if (config.n_routed_experts == 0) return moe;
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) {
    const bool listed = std::find(config.mlp_only_layers.begin(), config.mlp_only_layers.end(),
                                  i) != config.mlp_only_layers.end();
    moe.layers.push_back(!listed && i >= config.first_k_dense_replace &&
                         i % config.moe_layer_freq == 0 &&
                         (i + 1) % config.decoder_sparse_step == 0);
  }
  if (std::find(moe.layers.begin(), moe.layers.end(), true) == moe.layers.end()) return {};
  moe.num_experts = static_cast<int>(config.n_routed_experts);
  moe.num_experts_per_tok = static_cast<int>(config.num_experts_per_tok);
  moe.intermediate_size = static_cast<int>(
      config.moe_intermediate_size > 0 ? config.moe_intermediate_size : config.intermediate_size);
  moe.norm_topk_prob = config.norm_topk_prob;
  return moe;
}

absl::Status CheckHasExperts(const CheckpointReader& checkpoint) {
  if (checkpoint.config().n_routed_experts > 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      checkpoint.path(), ": ", checkpoint.config().architecture,
      " models are made of experts, but their number is 0 or missing (",
      checkpoint.format() == CheckpointFormat::kGguf ? "expert_count"
                                                     : "num_local_experts or num_experts",
      ")"));
}

}  // namespace transmla
