// What a model on disk is and what it would cost to serve, without loading its weights.
#ifndef TRANSMLA_ENGINE_INSPECT_H_
#define TRANSMLA_ENGINE_INSPECT_H_

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/statusor.h"

#include "engine/model/model_spec.h"

namespace transmla {

struct ModelInspection {
  std::string path;
  ModelSpec spec;
  int64_t tensors = 0;
  int64_t weight_bytes = 0;                       // as stored
  std::map<std::string, int64_t> bytes_by_dtype;  // "q4_1" → bytes
};

// Errors as OpenCheckpoint and ReadModelSpec give them.
absl::StatusOr<ModelInspection> InspectModel(const std::string& path);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_INSPECT_H_
