// Recovery: a short training of the converted attention, all layers together, so that the converted
// model predicts what its source predicts.
//
// Compression is fitted layer by layer and to first order; what its errors do to later layers and
// to the logits only the whole model tells. Recovery runs source and converted model over text
// once, and moves the attention's weights (queries, latent, keys and values from it, output) down
// the gradient of KL(source ‖ converted); all else stays as it is (docs/conversion.md, section 14).
#ifndef TRANSMLA_ENGINE_CONVERT_RECOVER_RECOVERY_H_
#define TRANSMLA_ENGINE_CONVERT_RECOVER_RECOVERY_H_

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "engine/convert/attention_weights.h"
#include "engine/convert/calibrate.h"
#include "engine/convert/recover/frozen_model.h"
#include "engine/convert/recover/latent_attention.h"
#include "engine/convert/source_weights.h"
#include "engine/model/decoder.h"

namespace transmla {

struct RecoveryOptions {
  // Times the root mean square of each row of the weights, at the peak of the schedule.
  double learning_rate = 2e-3;
};

// KL(source ‖ converted) a token, nats, mean over a tenth of the steps.
struct RecoveryLoss {
  int64_t tokens = 0;  // trained on
  double first = 0;
  double last = 0;
};

// Thread-compatible. Memory: three times the attention's weights as float32, and what all layers
// keep of one step for the way back; see docs/conversion.md.
class Recovery {
 public:
  // Unimplemented for features that are not trained through yet; errors as FrozenModel's. `weights`
  // must outlive it. `scale` multiplies scores before softmax.
  static absl::StatusOr<std::unique_ptr<Recovery>> Create(const SourceWeights& weights,
                                                          const MlaSpec& mla, double scale);

  // Where training starts; each layer once, before Train. REQUIRES: a whole query projection.
  void SetLayer(int layer, const LatentWeights& weights, const Matrix& output);

  // One pass over `text`, in order. `source` runs on `backend`, with limits for calibration on
  // sequences of this length. Sequences of another length than the first are left out. Internal if
  // the loss is not finite.
  absl::StatusOr<RecoveryLoss> Train(Decoder& source, Backend& backend, TokenSequences text,
                                     const RecoveryOptions& options,
                                     const SequenceProgress& progress);

  // With `o` set.
  LatentWeights Layer(int layer) const;

 private:
  struct Tape;
  Recovery(FrozenModel frozen, const MlaSpec& mla, double scale);
  AttentionShape ShapeOf(int layer, int length) const;
  // The residual stream after the last layer, for whole sequences.
  absl::StatusOr<FloatMatrix> Forward(absl::Span<const int32_t> ids, int length,
                                      std::vector<Tape>* tapes) const;
  // From the gradient of what Forward gave; `apply` takes each layer's, the last layer's first.
  absl::Status Backward(FloatMatrix gradient, int length, const std::vector<Tape>& tapes,
                        const std::function<void(int, AttentionParameters*)>& apply) const;

  FrozenModel frozen_;
  const MlaSpec mla_;
  const float scale_;
  std::vector<AttentionParameters> layers_;
  std::vector<std::vector<float>> inv_freq_;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_RECOVER_RECOVERY_H_
