// TransMlaRecipe: the published conversion (arXiv 2502.07864) from calibration to layer weights.
//
// As the published code does it (docs/conversion.md): rotate every layer by second moments of the
// source's keys, drop RoPE from all but the leading dimensions in all layers at once, calibrate
// again on that model, then compress every layer by the second moments seen there.
#ifndef TRANSMLA_ENGINE_CONVERT_TRANSMLA_RECIPE_H_
#define TRANSMLA_ENGINE_CONVERT_TRANSMLA_RECIPE_H_

#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "engine/convert/attention_weights.h"
#include "engine/convert/calibrate.h"
#include "engine/convert/compress.h"
#include "engine/convert/fitted_recipe.h"
#include "engine/convert/latent_layer.h"
#include "engine/convert/loaded_model.h"
#include "engine/convert/options.h"
#include "engine/convert/progress.h"
#include "engine/convert/report.h"
#include "engine/convert/source_weights.h"

namespace transmla {

// All references must outlive it.
class TransMlaRecipe : public FittedRecipe {
 public:
  TransMlaRecipe(const ConvertOptions& options, const ConversionContext& context,
                 const SourceWeights& source, ProgressTracker& progress);

  absl::StatusOr<int> Calibrate(WorkFolder& work, const LayeredModel& source,
                                TokenSequences calibration) override;
  absl::Status Fit(TokenSequences calibration, TokenSequences evaluation,
                   ConversionReport* report) override;
  absl::StatusOr<LatentWeights> Layer(int layer) const override;
  std::vector<std::vector<float>> InverseFrequencies() const override;

  // What Fit does, step by step. Stage kRotate; fills freqfold and perplexity_partial_rope of
  // `report`. `keys` are the source's (CalibrateKeys) over `calibration`; `evaluation` may be
  // empty.
  absl::Status Rotate(const std::vector<SecondMoment>& keys, TokenSequences calibration,
                      TokenSequences evaluation, ConversionReport* report);
  // Stage kCompress, in two steps: what the rotated model's layers give, and their compression,
  // which fills the layers of `report`. Moments depend on the rotation, not on the rank.
  absl::StatusOr<LatentMoments> CalibrateRotated(TokenSequences calibration);
  absl::Status Compress(const LatentMoments& moments, ConversionReport* report);

  // How a layer is converted: its rotation is the plan's key_map. REQUIRES: Rotate and Compress
  // succeeded.
  const LatentLayerPlan& plan(int layer) const { return plans_[layer]; }
  const LatentBasis& basis(int layer) const { return bases_[layer]; }

 private:
  // Plans of all layers that rotate with `freqfold` and keep everything.
  absl::StatusOr<std::vector<LatentLayerPlan>> PartialRopePlans(
      const std::vector<SecondMoment>& keys, int freqfold) const;
  // The model of those plans, in memory, ready for `limits`.
  absl::StatusOr<LoadedModel> LoadPartialRope(const std::vector<LatentLayerPlan>& plans,
                                              const StepLimits& limits);
  // Perplexity of the model with partial RoPE.
  absl::StatusOr<double> PartialRopePerplexity(const std::vector<LatentLayerPlan>& plans,
                                               TokenSequences sequences);
  absl::StatusOr<int> SearchFreqFold(const std::vector<SecondMoment>& keys,
                                     TokenSequences calibration);
  absl::Status CompressLayer(const LatentMoments& moments, int layer, LayerReport* report);

  const ConvertOptions& options_;
  const ConversionContext& context_;
  const SourceWeights& source_;
  ProgressTracker& progress_;
  std::vector<SecondMoment> keys_;      // a layer, once calibrated
  std::vector<LatentLayerPlan> plans_;  // a layer
  std::vector<LatentBasis> bases_;      // a layer, once compressed
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_TRANSMLA_RECIPE_H_
