// Phi-3 and Phi-4: llama with q, k and v in one matrix, gate and up in another, windows, and in
// some RoPE over a part of the head, or longrope.
#include "engine/model/family.h"
#include "engine/model/gqa_features.h"

namespace transmla {
namespace {

const TensorNames& HfNames() {
  static const TensorNames* const names = [] {
    auto* made = new TensorNames(HuggingFaceNames());
    made->qkv = "model.layers.$.self_attn.qkv_proj";
    made->gate_up = "model.layers.$.mlp.gate_up_proj.weight";
    return made;
  }();
  return *names;
}

const TensorNames& LlamaCppNames() {
  static const TensorNames* const names = [] {
    auto* made = new TensorNames(GgufNames());
    made->qkv = "blk.$.attn_qkv";
    made->gate_up = "blk.$.ffn_up.weight";
    // Read with the features.
    made->ignored.push_back("rope_factors_long.weight");
    made->ignored.push_back("rope_factors_short.weight");
    return made;
  }();
  return *names;
}

absl::StatusOr<ModelSpec> Features(const CheckpointReader& checkpoint) {
  return GqaFeatures(checkpoint, {.sliding_window = true, .partial_rotary = true});
}

}  // namespace

const Family kPhi3 = {
    .name = "phi3",
    .architectures = {"Phi3ForCausalLM", "phi3"},
    .hugging_face_names = HfNames,
    .gguf_names = LlamaCppNames,
    .features = Features,
};

}  // namespace transmla
