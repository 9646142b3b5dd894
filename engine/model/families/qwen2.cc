// Qwen2 and Qwen2.5: llama with biases on q, k and v.
#include "engine/model/family.h"

namespace transmla {

const Family kQwen2 = {
    .name = "qwen2",
    .architectures = {"Qwen2ForCausalLM", "qwen2"},
    .features = LlamaFeatures,
};

}  // namespace transmla
