// Llama 1 to 3 and those built like it (SmolLM2). In GGUF also Mistral and Mixtral, for which
// llama.cpp has no architectures of their own.
#include "engine/base/status.h"
#include "engine/model/family.h"
#include "engine/model/gqa_features.h"

namespace transmla {
namespace {

absl::StatusOr<ModelSpec> Features(const CheckpointReader& checkpoint) {
  const bool gguf = checkpoint.format() == CheckpointFormat::kGguf;
  ASSIGN_OR_RETURN(ModelSpec spec,
                   GqaFeatures(checkpoint, {.sliding_window = gguf, .experts = gguf}));
  spec.moe.norm_topk_prob = true;  // Mixtral's
  return spec;
}

}  // namespace

const Family kLlama = {
    .name = "llama",
    .architectures = {"LlamaForCausalLM", "llama"},
    .gguf_interleaves_rope = true,
    .features = Features,
};

}  // namespace transmla
