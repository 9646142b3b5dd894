// A cache ratio tried: the source fitted to it, in memory and work folder only, and compared with
// its source.
#ifndef TRANSMLA_ENGINE_CONVERT_RATIO_TRIAL_H_
#define TRANSMLA_ENGINE_CONVERT_RATIO_TRIAL_H_

#include <functional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include "engine/convert/fitted_recipe.h"
#include "engine/convert/layer_pass.h"
#include "engine/convert/options.h"
#include "engine/convert/report.h"
#include "engine/convert/source_weights.h"

namespace transmla {

// The converted model as a recipe has fitted it, its attention in float32. `options` are resolved;
// all must outlive it, and `spec` receives the model's features.
absl::StatusOr<LayeredModel> FittedModel(const SourceWeights& source, const FittedRecipe& recipe,
                                         const ConvertOptions& options, Backend& backend,
                                         ModelSpec* spec);

// Measures the cache ratio `ratio`. InvalidArgument if the model has no such result.
using RatioTrial = std::function<absl::StatusOr<RatioReport>(double ratio)>;

// The smallest ratio, of sixteenths below 1, at which perplexity rises by at most `share` of the
// source's, if it rises as the ratio falls; every ratio that was tried is appended to `tried`.
// FailedPrecondition, naming the best that was found, if none does.
absl::StatusOr<double> ChooseRatio(double share, const RatioTrial& trial,
                                   std::vector<RatioReport>* tried);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_RATIO_TRIAL_H_
