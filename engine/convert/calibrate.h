// Calibration: runs a model over token sequences and keeps second moments of what its projections
// give, layer by layer.
//
// Memory is that of the moments, whatever the length of the text.
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

// Runs all sequences, each from position 0, as many side by side as fit a step, for `observer` to
// see.
absl::Status ObserveSequences(Decoder& decoder, Backend& backend, TokenSequences sequences,
                              DecoderObserver& observer, const SequenceProgress& progress);

// Sums k·kᵀ of a grouped-query model's keys before RoPE, biases and norms included, over all that
// it runs while this observes it: one moment [L, L] a layer. The backend must outlive it.
class KeyMoments : public LayerStatistics {
 public:
  // Dimensions of heads are summed in the order `head_order`.
  KeyMoments(Backend& backend, const ModelSpec& spec, HeadOrder head_order = {});
  absl::Status OnProjections(int layer, const TensorView& q, const TensorView& k,
                             const TensorView& v) override;
  std::string Take(int layer) override;  // SecondMoment::Save
  // Ends the sums of all layers.
  std::vector<SecondMoment> TakeAll() { return std::move(moments_); }

 private:
  Backend& backend_;
  const HeadOrder head_order_;
  std::vector<SecondMoment> moments_;  // empty until its layer runs
  std::vector<float> buffer_;
};

// KeyMoments over `sequences`.
absl::StatusOr<std::vector<SecondMoment>> CalibrateKeys(Decoder& decoder, Backend& backend,
                                                        TokenSequences sequences,
                                                        const SequenceProgress& progress);

struct LatentMoments {
  std::vector<SecondMoment>
      kv;  // a layer: of [latent | rope key], as kv_a_proj_with_mqa gives them
  std::vector<SecondMoment>
      query;  // a layer: of the position-free parts of all heads, [H·Dn]; empty unless asked for
};

// The same for a model with latent attention: here one whose keys are rotated and whose latent is
// not yet compressed.
absl::StatusOr<LatentMoments> CalibrateLatents(Decoder& decoder, Backend& backend,
                                               TokenSequences sequences, bool with_queries,
                                               const SequenceProgress& progress);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_CALIBRATE_H_
