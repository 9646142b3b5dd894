// Mistral: llama whose layers may attend to a window. Its GGUF files call themselves llama.
#include "engine/model/family.h"
#include "engine/model/gqa_features.h"

namespace transmla {
namespace {

absl::StatusOr<ModelSpec> Features(const CheckpointReader& checkpoint) {
  return GqaFeatures(checkpoint, {.sliding_window = true});
}

}  // namespace

const Family kMistral = {
    .name = "mistral",
    .architectures = {"MistralForCausalLM"},
    .features = Features,
};

}  // namespace transmla
