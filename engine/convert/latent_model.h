// A converted model that is there piece by piece, its attention in float32.
#ifndef TRANSMLA_ENGINE_CONVERT_LATENT_MODEL_H_
#define TRANSMLA_ENGINE_CONVERT_LATENT_MODEL_H_

#include <functional>
#include <vector>

#include "absl/status/statusor.h"

#include "engine/backend/backend.h"
#include "engine/convert/attention_weights.h"
#include "engine/convert/fitted_recipe.h"
#include "engine/convert/layer_streams.h"
#include "engine/convert/options.h"
#include "engine/convert/source_weights.h"
#include "engine/format/checkpoint.h"

namespace transmla {

struct LatentModelParts {
  const SourceWeights* source = nullptr;  // what is not attention
  Config config;                          // LatentConfig
  // [layers][qk_rope_head_dim / 2]; asked for with every layer.
  std::function<std::vector<std::vector<float>>()> inv_freq;
  // Computed each time that a layer is asked for.
  std::function<absl::StatusOr<LatentWeights>(int layer)> layer;
};

// What the parts refer to must outlive it; `spec` receives the model's features.
absl::StatusOr<LayeredModel> LatentModel(LatentModelParts parts, Backend& backend, ModelSpec* spec);

// As `recipe` has fitted it. `options` are resolved; all must outlive it.
absl::StatusOr<LayeredModel> FittedModel(const SourceWeights& source, const FittedRecipe& recipe,
                                         const ConvertOptions& options, Backend& backend,
                                         ModelSpec* spec);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_LATENT_MODEL_H_
