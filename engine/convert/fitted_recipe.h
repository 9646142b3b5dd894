// FittedRecipe: a conversion whose weights are computed from what the source does with text.
#ifndef TRANSMLA_ENGINE_CONVERT_FITTED_RECIPE_H_
#define TRANSMLA_ENGINE_CONVERT_FITTED_RECIPE_H_

#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "engine/convert/attention_weights.h"
#include "engine/convert/calibrate.h"
#include "engine/convert/layer_pass.h"
#include "engine/convert/report.h"
#include "engine/convert/work_folder.h"

namespace transmla {

// Thread-compatible.
class FittedRecipe {
 public:
  virtual ~FittedRecipe() = default;

  // Stage kCalibrate: runs `source` over `calibration`, of which `work` may have a part already.
  // What it keeps depends on the recipe and not on the shape of the result. Called once, before
  // Fit; all must outlive the recipe. Returns how many layers `work` had.
  virtual absl::StatusOr<int> Calibrate(WorkFolder& work, const LayeredModel& source,
                                        TokenSequences calibration) = 0;
  // Stages kRotate and kCompress; fills what `report` tells of them. `evaluation` may be empty, and
  // is only measured with.
  virtual absl::Status Fit(TokenSequences calibration, TokenSequences evaluation,
                           ConversionReport* report) = 0;

  // The converted attention of a layer. REQUIRES: Fit succeeded; so for what follows.
  virtual absl::StatusOr<LatentWeights> Layer(int layer) const = 0;
  // Whether layers have output projections of their own.
  virtual bool FitsOutput() const { return false; }
  // [layers][qk_rope_head_dim / 2]
  virtual std::vector<std::vector<float>> InverseFrequencies() const = 0;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_FITTED_RECIPE_H_
