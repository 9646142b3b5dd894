// Llama 1 to 3 and those built like it (SmolLM2).
#include "engine/model/family.h"

namespace transmla {

const Family kLlama = {
    .name = "llama",
    .architectures = {"LlamaForCausalLM", "llama"},
    .gguf_interleaves_rope = true,
    .features = LlamaFeatures,
};

}  // namespace transmla
