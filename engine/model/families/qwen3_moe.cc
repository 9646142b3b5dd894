// Qwen3 with experts: in all layers, or in some.
#include "engine/base/status.h"
#include "engine/model/family.h"
#include "engine/model/gqa_features.h"
#include "engine/model/moe_features.h"

namespace transmla {
namespace {

absl::StatusOr<ModelSpec> Features(const CheckpointReader& checkpoint) {
  RETURN_IF_ERROR(CheckHasExperts(checkpoint));
  ASSIGN_OR_RETURN(ModelSpec spec, GqaFeatures(checkpoint, {.experts = true}));
  spec.qk_norm = true;
  // GGUF files do not say; llama.cpp always does it.
  if (checkpoint.format() == CheckpointFormat::kGguf) spec.moe.norm_topk_prob = true;
  return spec;
}

}  // namespace

const Family kQwen3Moe = {
    .name = "qwen3_moe",
    .architectures = {"Qwen3MoeForCausalLM", "qwen3moe"},
    .features = Features,
};

}  // namespace transmla
