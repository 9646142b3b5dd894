// FittedRecipe: a conversion whose weights are computed from what the source does with text.
#ifndef TRANSMLA_ENGINE_CONVERT_FITTED_RECIPE_H_
#define TRANSMLA_ENGINE_CONVERT_FITTED_RECIPE_H_

#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "engine/backend/backend.h"
#include "engine/convert/attention_weights.h"
#include "engine/convert/calibrate.h"
#include "engine/convert/report.h"
#include "engine/model/decoder.h"

namespace transmla {

// Thread-compatible.
class FittedRecipe {
 public:
  virtual ~FittedRecipe() = default;

  // What the source is to run the calibration text with; called once. `backend`, on which it runs,
  // must outlive the recipe's Fit.
  virtual DecoderObserver& Observe(Backend& backend) = 0;
  // Whether the observer must see whole sequences, not one token after the other.
  virtual bool NeedsWholeSequences() const = 0;
  // Stages kRotate and kCompress, from what the observer saw of `calibration`; fills what `report`
  // tells of them. `evaluation` may be empty, and is only measured with.
  virtual absl::Status Fit(TokenSequences calibration, TokenSequences evaluation,
                           ConversionReport* report) = 0;

  // The converted attention of a layer. REQUIRES: Fit succeeded; so for what follows.
  virtual absl::StatusOr<LatentWeights> Layer(int layer) const = 0;
  // [layers][qk_rope_head_dim / 2]
  virtual std::vector<std::vector<float>> InverseFrequencies() const = 0;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_FITTED_RECIPE_H_
