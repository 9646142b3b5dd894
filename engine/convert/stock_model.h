// A converted model as transformers' own DeepseekV3ForCausalLM loads it, without remote code: the
// weights of stock_layout.h, and a config.json that says the rest.
//
// There all layers share their frequencies. Where rope_theta does not express them they stand in
// rope_scaling, as longrope's factors (docs/checkpoint_format.md).
#ifndef TRANSMLA_ENGINE_CONVERT_STOCK_MODEL_H_
#define TRANSMLA_ENGINE_CONVERT_STOCK_MODEL_H_

#include "absl/status/status.h"
#include "absl/types/span.h"

#include "engine/convert/emit.h"
#include "engine/convert/source_weights.h"
#include "engine/format/config.h"
#include "engine/model/model_spec.h"

namespace transmla {

// Unimplemented, naming it, if a model of these features converts but has one that DeepSeek-V3's
// code lacks.
absl::Status CheckStockFormat(const ModelSpec& source);

// Turns a model that would be written in our format into a stock one: `source` and `options` are
// what WriteLatentModel takes, `source.layer` is wrapped. `weights` must outlive `source`.
// REQUIRES: CheckStockFormat passed, and all layers of `source` have the same frequencies.
void UseStockLayout(const SourceWeights& weights, EmitSource& source, EmitOptions& options);

// Sets rope_theta and rope_scaling such that transformers computes `inv_freq` [qk_rope_head_dim /
// 2] from them in float32: exactly, or for every second float next to it.
void SetFrequencies(absl::Span<const float> inv_freq, Config& config);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_STOCK_MODEL_H_
