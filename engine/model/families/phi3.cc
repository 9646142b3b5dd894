// Phi-3 and Phi-4: llama with q, k and v in one matrix, gate and up in another, windows, and RoPE
// over a part of the head in some.
#include "absl/strings/str_cat.h"

#include "engine/base/status.h"
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
    return made;
  }();
  return *names;
}

absl::StatusOr<ModelSpec> Features(const CheckpointReader& checkpoint) {
  const auto& scaling = checkpoint.config().rope_scaling;
  const bool longrope = scaling && (scaling->type == "longrope" || scaling->type == "su");
  // llama.cpp stores the factors of longrope as tensors.
  if (longrope || checkpoint.Has("rope_factors_long.weight")) {
    return absl::UnimplementedError(
        absl::StrCat(checkpoint.path(), ": positions are scaled by longrope, which changes the ",
                     "keys of a sequence as it grows and is not supported; use a model of the ",
                     "family without it (Phi-3 4k, Phi-4)"));
  }
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
