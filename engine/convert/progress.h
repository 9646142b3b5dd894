// ProgressTracker turns "stage s, n of m" into a share of the whole, an estimate of the time left,
// and asks for cancellation on the way.
#ifndef TRANSMLA_ENGINE_CONVERT_PROGRESS_H_
#define TRANSMLA_ENGINE_CONVERT_PROGRESS_H_

#include "absl/status/status.h"
#include "absl/time/time.h"

#include "engine/convert/pipeline.h"

namespace transmla {

// Thread-compatible; the context must outlive it.
class ProgressTracker {
 public:
  // `recipe` and whether text is sampled decide how long stages are expected to take relative to
  // each other.
  ProgressTracker(const ConversionContext& context, const ConvertOptions& options);

  // Enters `stage`; stages come in the enum's order. Cancelled if that was asked for.
  absl::Status Enter(ConversionStage stage, int layers = 0);
  // `done` of `total` equal steps of the stage, `layer` of its layers. Never goes back: a stage
  // that starts over (a search) reports again what it has reported. Cancelled if that was asked
  // for.
  absl::Status Advance(int done, int total, int layer = 0);

  absl::Duration elapsed() const { return context_.clock->Now() - start_; }

 private:
  absl::Status Report();

  const ConversionContext& context_;
  absl::Time start_;
  std::vector<double> weights_;  // a stage, summing to 1
  ConversionProgress progress_;
  double stage_start_ = 0;  // share of the whole when the stage began
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_PROGRESS_H_
