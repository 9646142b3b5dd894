// A converted layer as it waits in the work folder to be written.
#ifndef TRANSMLA_ENGINE_CONVERT_FITTED_LAYER_H_
#define TRANSMLA_ENGINE_CONVERT_FITTED_LAYER_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "engine/convert/attention_weights.h"
#include "engine/convert/report.h"

namespace transmla {

struct FittedLayer {
  LatentWeights weights;  // without norms of latents
  LayerReport report;
};

// As the bytes of a record; matrices are rounded to float32.
std::string SaveFittedLayer(const FittedLayer& layer);
// DataLoss if it is not whole.
absl::StatusOr<FittedLayer> ParseFittedLayer(absl::string_view record);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_FITTED_LAYER_H_
