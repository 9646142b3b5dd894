// A backend with a model on it, freed in the right order.
#ifndef TRANSMLA_ENGINE_CONVERT_LOADED_MODEL_H_
#define TRANSMLA_ENGINE_CONVERT_LOADED_MODEL_H_

#include <memory>

#include "absl/status/statusor.h"

#include "engine/convert/pipeline.h"
#include "engine/format/checkpoint.h"
#include "engine/model/decoder.h"

namespace transmla {

struct LoadedModel {
  std::unique_ptr<Backend> backend;
  std::unique_ptr<Decoder> decoder;  // declared after its backend, so destroyed before it
};

// Makes a backend and loads `checkpoint` onto it.
absl::StatusOr<LoadedModel> LoadModel(const ConversionContext& context,
                                      std::shared_ptr<const CheckpointReader> checkpoint,
                                      const StepLimits& limits);

// The larger of each.
StepLimits LimitsForBoth(const StepLimits& a, const StepLimits& b);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_LOADED_MODEL_H_
