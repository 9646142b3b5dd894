// TransMlaRecipe: the published conversion (arXiv 2502.07864) from calibration to layer weights.
//
// As the published code does it (docs/conversion.md): rotate every layer by second moments of the
// source's keys, drop RoPE from all but the leading dimensions in all layers at once, calibrate
// again on that model, then compress every layer by the second moments seen there. Of all layers
// but one, moments and results lie in the work folder.
#ifndef TRANSMLA_ENGINE_CONVERT_TRANSMLA_RECIPE_H_
#define TRANSMLA_ENGINE_CONVERT_TRANSMLA_RECIPE_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "engine/convert/attention_weights.h"
#include "engine/convert/calibrate.h"
#include "engine/convert/compress.h"
#include "engine/convert/fitted_recipe.h"
#include "engine/convert/latent_layer.h"
#include "engine/convert/layer_pass.h"
#include "engine/convert/options.h"
#include "engine/convert/progress.h"
#include "engine/convert/report.h"
#include "engine/convert/rotate.h"
#include "engine/convert/source_weights.h"

namespace transmla {

// All references must outlive it.
class TransMlaRecipe : public FittedRecipe {
 public:
  TransMlaRecipe(const ConvertOptions& options, const SourceWeights& source,
                 ProgressTracker& progress)
      : options_(options), source_(source), progress_(progress) {}

  absl::StatusOr<int> Calibrate(WorkFolder& work, const LayeredModel& source,
                                TokenSequences calibration) override;
  absl::Status Fit(TokenSequences calibration, TokenSequences evaluation,
                   ConversionReport* report) override;
  absl::StatusOr<LatentWeights> Layer(int layer) const override;
  std::vector<std::vector<float>> InverseFrequencies() const override {
    return Frequencies(freqfold_);
  }

  // How a layer was converted: its rotation is plan.key_map.
  struct CompressedLayer {
    LatentLayerPlan plan;
    LatentBasis basis;
    LayerReport report;
  };
  // Computed anew. REQUIRES: Fit succeeded.
  absl::StatusOr<CompressedLayer> Compress(int layer) const;

 private:
  // Of a layer's records; results of other shapes have others.
  std::string RecordName(int layer) const;
  RotationShape ShapeOf(int freqfold) const;
  std::vector<std::vector<float>> Frequencies(int freqfold) const;
  // Rotates the layer with `freqfold` and keeps everything.
  absl::StatusOr<LatentLayerPlan> PartialRopePlan(int layer, int freqfold) const;
  // The model of those plans.
  absl::StatusOr<LayeredModel> PartialRopeModel(int freqfold, ModelSpec* spec) const;
  absl::StatusOr<double> PartialRopePerplexity(int freqfold, TokenSequences sequences) const;
  absl::StatusOr<int> SearchFreqFold(TokenSequences calibration) const;
  // Stage kRotate; fills freqfold and perplexity_partial_rope of `report`.
  absl::Status Rotate(TokenSequences calibration, TokenSequences evaluation,
                      ConversionReport* report);
  // Stage kCompress: what the rotated model's layers give, and their compression, which fills the
  // layers of `report`.
  absl::Status CompressAll(TokenSequences calibration, ConversionReport* report);

  const ConvertOptions& options_;
  const SourceWeights& source_;
  ProgressTracker& progress_;
  // Once calibrated.
  WorkFolder* work_ = nullptr;
  Backend* backend_ = nullptr;
  std::optional<LayerPass> keys_;  // of the source, over the calibration text

  int freqfold_ = 0;                  // once rotated
  std::optional<LayerPass> latents_;  // of the rotated model, over that text
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_TRANSMLA_RECIPE_H_
