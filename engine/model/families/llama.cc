// Llama 1 to 3 and those built like it (SmolLM2). In GGUF also Mistral, for which llama.cpp has no
// architecture of its own.
#include "engine/model/family.h"
#include "engine/model/gqa_features.h"

namespace transmla {
namespace {

absl::StatusOr<ModelSpec> Features(const CheckpointReader& checkpoint) {
  return GqaFeatures(checkpoint,
                     {.sliding_window = checkpoint.format() == CheckpointFormat::kGguf});
}

}  // namespace

const Family kLlama = {
    .name = "llama",
    .architectures = {"LlamaForCausalLM", "llama"},
    .gguf_interleaves_rope = true,
    .features = Features,
};

}  // namespace transmla
