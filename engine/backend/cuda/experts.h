// Route, GatherRows and CombineRows: what a step's routes need on the device.
#ifndef TRANSMLA_ENGINE_BACKEND_CUDA_EXPERTS_H_
#define TRANSMLA_ENGINE_BACKEND_CUDA_EXPERTS_H_

#include "absl/status/status.h"
#include <cuda_runtime_api.h>

#include "engine/backend/cuda/device_buffer.h"
#include "engine/backend/op_args.h"

namespace transmla::cuda {

// Owns the device's copy of the rows and weights of one operation at a time: the stream runs them
// one after the other. Thread-compatible; the current device must be the one it was made on.
class ExpertRunner {
 public:
  // Makes room for kMaxExpertsPerToken routes for each of so many tokens.
  absl::Status Reserve(int max_tokens);

  // REQUIRES: arguments are checked, and the step is within what was reserved. Route waits for the
  // device, the others return before it is done.
  absl::Status Route(cudaStream_t stream, const RouteArgs& args);
  absl::Status GatherRows(cudaStream_t stream, const GatherRowsArgs& args);
  absl::Status CombineRows(cudaStream_t stream, const CombineRowsArgs& args);

 private:
  DeviceBuffer rows_;     // int32_t: experts, or rows
  DeviceBuffer weights_;  // float
};

}  // namespace transmla::cuda

#endif  // TRANSMLA_ENGINE_BACKEND_CUDA_EXPERTS_H_
