// The smallest cache ratio that loses no more than is allowed.
#ifndef TRANSMLA_ENGINE_CONVERT_RATIO_TRIAL_H_
#define TRANSMLA_ENGINE_CONVERT_RATIO_TRIAL_H_

#include <functional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include "engine/convert/report.h"

namespace transmla {

// Measures the cache ratio `ratio`. InvalidArgument if the model has no such result.
using RatioTrial = std::function<absl::StatusOr<RatioReport>(double ratio)>;

// The smallest ratio, of sixteenths below 1, at which perplexity rises by at most `share` of the
// source's, if it rises as the ratio falls; every ratio that was tried is appended to `tried`.
// FailedPrecondition, naming the best that was found, if none does.
absl::StatusOr<double> ChooseRatio(double share, const RatioTrial& trial,
                                   std::vector<RatioReport>* tried);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_RATIO_TRIAL_H_
