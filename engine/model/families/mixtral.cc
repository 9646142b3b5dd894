// Mixtral: mistral with experts, all in every layer, whose weights add up to 1. Its GGUF files call
// themselves llama.
#include "engine/base/status.h"
#include "engine/model/family.h"
#include "engine/model/gqa_features.h"
#include "engine/model/moe_features.h"

namespace transmla {
namespace {

const TensorNames& Names() {
  static const TensorNames* const names = [] {
    auto* made = new TensorNames(HuggingFaceNames());
    made->router = "model.layers.$.block_sparse_moe.gate.weight";
    made->expert_gate = "model.layers.$.block_sparse_moe.experts.@.w1.weight";
    made->expert_up = "model.layers.$.block_sparse_moe.experts.@.w3.weight";
    made->expert_down = "model.layers.$.block_sparse_moe.experts.@.w2.weight";
    return made;
  }();
  return *names;
}

absl::StatusOr<ModelSpec> Features(const CheckpointReader& checkpoint) {
  RETURN_IF_ERROR(CheckHasExperts(checkpoint));
  ASSIGN_OR_RETURN(ModelSpec spec,
                   GqaFeatures(checkpoint, {.sliding_window = true, .experts = true}));
  spec.moe.norm_topk_prob = true;
  return spec;
}

}  // namespace

const Family kMixtral = {
    .name = "mixtral",
    .architectures = {"MixtralForCausalLM"},
    .hugging_face_names = Names,
    .features = Features,
};

}  // namespace transmla
