// Qwen3: llama with norms of each head of queries and keys, and heads of a width of their own.
#include "engine/base/status.h"
#include "engine/model/family.h"
#include "engine/model/gqa_features.h"

namespace transmla {
namespace {

absl::StatusOr<ModelSpec> Features(const CheckpointReader& checkpoint) {
  ASSIGN_OR_RETURN(ModelSpec spec, GqaFeatures(checkpoint, {}));
  spec.qk_norm = true;
  return spec;
}

}  // namespace

const Family kQwen3 = {
    .name = "qwen3",
    .architectures = {"Qwen3ForCausalLM", "qwen3"},
    .features = Features,
};

}  // namespace transmla
