// Qwen2 and Qwen2.5: llama with biases on q, k and v.
#include "engine/model/family.h"
#include "engine/model/gqa_features.h"

namespace transmla {
namespace {

absl::StatusOr<ModelSpec> Features(const CheckpointReader& checkpoint) {
  return GqaFeatures(checkpoint, {});
}

}  // namespace

const Family kQwen2 = {
    .name = "qwen2",
    .architectures = {"Qwen2ForCausalLM", "qwen2"},
    .features = Features,
};

}  // namespace transmla
