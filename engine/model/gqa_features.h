// Features that llama and its relatives share: sizes, GQA heads, RoPE, windows, biases as found in
// the file.
#ifndef TRANSMLA_ENGINE_MODEL_GQA_FEATURES_H_
#define TRANSMLA_ENGINE_MODEL_GQA_FEATURES_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "engine/format/checkpoint.h"
#include "engine/model/model_spec.h"

namespace transmla {

// What a family makes of its config beyond what llama does. What a config asks for and its family
// does not do is refused.
struct GqaTraits {
  absl::string_view hidden_act = "silu";  // Hugging Face's name; GGUF does not say
  Activation activation = Activation::kSilu;
  // Every layer attends to config.sliding_window positions, or those that config.layer_types names.
  bool sliding_window = false;
  bool partial_rotary = false;  // RoPE may turn the first part of each head only
  bool experts = false;         // feed-forward blocks may have experts, as MoeFeatures reads them
};

// Unimplemented names what the config asks for beyond `traits`, InvalidArgument what is out of
// range. Ranges that every model shares are ModelSpec::Validate's business.
absl::StatusOr<ModelSpec> GqaFeatures(const CheckpointReader& checkpoint, const GqaTraits& traits);

// Positions that a layer with a window sees; 0 if the window is the whole context, or absent.
int WindowWithin(const Config& config);

// Gives all layers that window, or those that config.layer_types names. REQUIRES: num_layers is
// set.
void SetWindows(const Config& config, ModelSpec& spec);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_MODEL_GQA_FEATURES_H_
