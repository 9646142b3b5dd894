// Calibration: what is kept of a model's projections while it runs over token sequences, a layer at
// a time (layer_pass.h).
//
// Memory is that of a layer's moments, whatever the length of the text.
#ifndef TRANSMLA_ENGINE_CONVERT_CALIBRATE_H_
#define TRANSMLA_ENGINE_CONVERT_CALIBRATE_H_

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include "engine/backend/backend.h"
#include "engine/convert/head_order.h"
#include "engine/convert/layer_statistics.h"
#include "engine/convert/moments.h"
#include "engine/model/decoder.h"

namespace transmla {

using TokenSequences = absl::Span<const std::vector<int32_t>>;

// Called after each step with the sequences done; an error ends the run with it.
using SequenceProgress = std::function<absl::Status(int done, int total)>;

// What calibration needs a model loaded with, for sequences of `length` tokens.
StepLimits CalibrationLimits(int length);

// Sums k·kᵀ of a grouped-query model's keys before RoPE, biases and norms included, over all that
// it runs while this observes it: a moment [L, L] a layer. The backend must outlive it.
class KeyMoments : public LayerStatistics {
 public:
  // Dimensions of heads are summed in the order `head_order`.
  explicit KeyMoments(Backend& backend, HeadOrder head_order = {})
      : backend_(backend), head_order_(std::move(head_order)) {}
  absl::Status OnProjections(int layer, const TensorView& q, const TensorView& k,
                             const TensorView& v) override;
  std::string Take(int layer) override;  // SecondMoment::Save
 private:
  Backend& backend_;
  const HeadOrder head_order_;
  SecondMoment moment_;  // of the layer that runs; empty until it does
  std::vector<float> buffer_;
};

// The same of a model with latent attention: what its layers' projections give.
struct LatentMoments {
  SecondMoment kv;     // of [latent | rope key], as kv_a_proj_with_mqa gives them
  SecondMoment query;  // of the position-free parts of all heads, [H·Dn]; empty unless asked for
};

// Sums LatentMoments of all that a model runs while this observes it. The backend must outlive it.
class LatentObserver : public LayerStatistics {
 public:
  LatentObserver(Backend& backend, const MlaSpec& mla, bool with_queries)
      : backend_(backend), mla_(mla), with_queries_(with_queries) {}
  absl::Status OnLatentProjections(int layer, const TensorView& q, const TensorView& kv) override;
  std::string Take(int layer) override;

 private:
  // Keeps the first Dn of every Dn + Dr elements of the buffer.
  void DropRopeParts();

  Backend& backend_;
  const MlaSpec mla_;
  const bool with_queries_;
  LatentMoments moments_;  // of the layer that runs
  std::vector<float> buffer_;
};

// A record that LatentObserver took. DataLoss if it is not whole.
absl::StatusOr<LatentMoments> ParseLatentMoments(absl::string_view record);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_CALIBRATE_H_
