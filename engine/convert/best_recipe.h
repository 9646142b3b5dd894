// BestRecipe: our own conversion, which loses less than the published one at the same cache.
//
// Of each layer it takes the keys apart by what scores see of them, keeps RoPE on the components
// that need it most, and compresses the rest together with the values, weighed by what queries and
// the output projection make of them (docs/conversion.md, section 11). That needs one run of the
// source over the calibration text. Then output projections are fitted to what the converted
// attention gives (output_refit.h). Of all layers but one, statistics and results lie in the work
// folder.
#ifndef TRANSMLA_ENGINE_CONVERT_BEST_RECIPE_H_
#define TRANSMLA_ENGINE_CONVERT_BEST_RECIPE_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "engine/convert/attention_statistics.h"
#include "engine/convert/fitted_layer.h"
#include "engine/convert/fitted_recipe.h"
#include "engine/convert/key_components.h"
#include "engine/convert/latent_layer.h"
#include "engine/convert/layer_pass.h"
#include "engine/convert/options.h"
#include "engine/convert/progress.h"
#include "engine/convert/source_weights.h"

namespace transmla {

// All references must outlive it.
class BestRecipe : public FittedRecipe {
 public:
  BestRecipe(const ConvertOptions& options, const SourceWeights& source, ProgressTracker& progress)
      : options_(options), source_(source), progress_(progress) {}

  absl::StatusOr<int> Calibrate(WorkFolder& work, const LayeredModel& source,
                                TokenSequences calibration) override;
  absl::Status Fit(TokenSequences calibration, TokenSequences evaluation,
                   ConversionReport* report) override;
  absl::StatusOr<LatentWeights> Layer(int layer) const override;
  bool FitsOutput() const override { return !options_.keep_output; }
  std::vector<std::vector<float>> InverseFrequencies() const override { return inv_freq_; }

 private:
  absl::StatusOr<AttentionStatistics> Statistics(int layer) const;
  // Of records about a layer that begin so; results of other shapes have others.
  std::string RecordName(absl::string_view what, int layer) const;
  absl::StatusOr<FittedLayer> ReadRecord(absl::string_view what, int layer) const;
  // The layer with its own output projection if it is refitted already, or else without.
  absl::StatusOr<FittedLayer> ReadLayer(int layer) const;
  // What the keys' root is multiplied by.
  double Balance() const;
  absl::StatusOr<LatentLayerPlan> PlanLayer(const AttentionStatistics& statistics, int layer,
                                            int max_distance, LayerReport* report) const;
  absl::StatusOr<LatentWeights> BuildLayer(const LatentLayerPlan& plan, int layer) const;
  absl::Status FitLayers(int max_distance, ConversionReport* report);
  // Replaces the fitted layers' output projections.
  absl::Status RefitOutputProjections();
  // From the work folder if it is there, or else into it.
  absl::StatusOr<FittedLayer> FitLayer(int layer, int max_distance) const;
  // What z = [k_nope; v] = `map` · [k; v] is around: [K + L], zero where it may not be taken out.
  std::vector<double> Centre(const AttentionStatistics& statistics, const Matrix& map) const;
  // What errors do to the output of a layer's attention, to first order and in mean squares: an
  // error e of a value adds W_o·e to it, one of a head's score moves weight between values, and so
  // what that head makes of a value's distance from the mean. How many positions share the weight
  // counts alike for both.
  struct OutputWeights {
    Matrix values;               // Σ W_oᵀ·W_o over the heads that read a value, [L, L]
    std::vector<double> scores;  // of q·k a head: score scale² · E|W_o·(v − mean)|²
  };
  absl::StatusOr<OutputWeights> WeighOutput(const AttentionStatistics& statistics, int layer) const;
  // A layer's keys taken apart, and what that took.
  struct LayerKeys {
    OutputWeights weights;
    std::vector<Matrix> queries;  // a head: mean of q·qᵀ, times its weights.scores
    std::vector<KeyComponent> components;
  };
  absl::StatusOr<LayerKeys> DecomposeLayer(const AttentionStatistics& statistics, int layer,
                                           int max_distance) const;
  // Fills shared_pairs_.
  absl::Status ShareFrequencies(int max_distance);

  const ConvertOptions& options_;
  const SourceWeights& source_;
  ProgressTracker& progress_;
  // Once calibrated.
  WorkFolder* work_ = nullptr;
  LayeredModel source_model_;
  TokenSequences calibration_;
  std::optional<LayerPass> pass_;  // over the calibration text

  std::vector<int> shared_pairs_;             // ChooseSharedPairs, if layers are to share them
  std::vector<std::vector<float>> inv_freq_;  // a layer, once fitted
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_BEST_RECIPE_H_
