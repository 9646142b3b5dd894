// What a result needs for llama.cpp to run it: its architecture deepseek2 (docs/conversion.md,
// section 13).
//
// That architecture has norms of the latents and no biases, and one base of RoPE for all layers.
// The norms are made harmless: RMSNorm divides by sqrt(mean x² + eps), so that of a latent that is
// 2^40 times smaller eps alone counts, and the norm is a multiplication by 1/sqrt(eps), which its
// weight undoes together with the 2^-40. Powers of two change no digit of a weight.
#ifndef TRANSMLA_ENGINE_CONVERT_LLAMA_CPP_H_
#define TRANSMLA_ENGINE_CONVERT_LLAMA_CPP_H_

#include <vector>

#include "absl/status/status.h"

#include "engine/convert/attention_weights.h"
#include "engine/convert/options.h"
#include "engine/model/model_spec.h"

namespace transmla {

// Unimplemented, naming it, if the source has what deepseek2 has no place for, or the recipe makes
// it.
absl::Status CheckLlamaCpp(const ConvertOptions& options, const ModelSpec& source);

// Latents, of keys and values and of queries if they have one, become 2^40 times smaller.
void ShrinkLatents(int kv_lora_rank, LatentWeights& weights);

// What a norm of such latents multiplies by, to be none.
float HarmlessNormWeight(float norm_eps);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_LLAMA_CPP_H_
