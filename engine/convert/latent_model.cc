#include "engine/convert/latent_model.h"

#include <memory>
#include <utility>

#include "engine/base/status.h"
#include "engine/convert/latent_checkpoint.h"
#include "engine/convert/plan.h"

namespace transmla {

absl::StatusOr<LayeredModel> LatentModel(LatentModelParts parts, Backend& backend,
                                         ModelSpec* spec) {
  const auto layer = [parts = std::move(parts)](
                         int index) -> absl::StatusOr<std::shared_ptr<const CheckpointReader>> {
    auto checkpoint = std::make_shared<LatentCheckpoint>(*parts.source, parts.config);
    checkpoint->AddFrequencies(parts.inv_freq());
    ASSIGN_OR_RETURN(LatentWeights weights, parts.layer(index));
    weights.inv_freq.clear();
    checkpoint->AddLayer(index, weights);
    return checkpoint;
  };
  // Whether there are biases the first layer tells.
  ASSIGN_OR_RETURN(const std::shared_ptr<const CheckpointReader> first, layer(0));
  ASSIGN_OR_RETURN(*spec, ReadModelSpec(*first));
  return LayeredModel{.layer = layer, .ends = first, .spec = spec, .backend = &backend};
}

absl::StatusOr<LayeredModel> FittedModel(const SourceWeights& source, const FittedRecipe& recipe,
                                         const ConvertOptions& options, Backend& backend,
                                         ModelSpec* spec) {
  const ModelSpec& from = source.spec();
  return LatentModel(
      {.source = &source,
       .config = LatentConfig(source, ResolveShape(options, from), ResolveBiases(options, from),
                              ResolveAttentionScale(options, from)),
       .inv_freq = [&recipe] { return recipe.InverseFrequencies(); },
       .layer = [&recipe](int layer) { return recipe.Layer(layer); }},
      backend, spec);
}

}  // namespace transmla
