// Features of models whose feed-forward blocks have experts.
#ifndef TRANSMLA_ENGINE_MODEL_MOE_FEATURES_H_
#define TRANSMLA_ENGINE_MODEL_MOE_FEATURES_H_

#include "absl/status/status.h"

#include "engine/format/checkpoint.h"
#include "engine/model/model_spec.h"

namespace transmla {

// How many experts there are, of what width and in which layers. Empty if no layer has any. Where
// the config gives no width, it is intermediate_size.
MoeSpec MoeFeatures(const Config& config);

// InvalidArgument if the config of a family that is made of experts gives no number of them.
absl::Status CheckHasExperts(const CheckpointReader& checkpoint);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_MODEL_MOE_FEATURES_H_
