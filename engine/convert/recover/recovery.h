// Recovery: a short training of the converted attention, all layers together, so that the converted
// model predicts what its source predicts.
//
// Compression is fitted layer by layer and to first order; what its errors do to later layers and
// to the logits only the whole model tells. Recovery runs source and converted model over text
// once, and moves the attention's weights (queries, latent, keys and values from it, output) down
// the gradient of KL(source ‖ converted); all else stays as it is (docs/conversion.md, section 14).
#ifndef TRANSMLA_ENGINE_CONVERT_RECOVER_RECOVERY_H_
#define TRANSMLA_ENGINE_CONVERT_RECOVER_RECOVERY_H_

#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "engine/base/thread_pool.h"
#include "engine/convert/attention_weights.h"
#include "engine/convert/calibrate.h"
#include "engine/convert/recover/frozen_model.h"
#include "engine/convert/recover/latent_attention.h"
#include "engine/convert/recover/trained_layer.h"
#include "engine/convert/source_weights.h"
#include "engine/convert/work_folder.h"
#include "engine/model/decoder.h"

namespace transmla {

struct RecoveryOptions {
  // Times the root mean square of each row of the weights, at the peak of the schedule.
  double learning_rate = 2e-3;
  // SOAP rather than Adam; it wants half the rate.
  bool eigenbases = false;
  // Where training leaves a record every few steps and at its end, and goes on from one that is
  // whole; null: none. Must hold records of this very training alone (WorkFolder's job).
  WorkFolder* work = nullptr;
};

// KL(source ‖ converted) a token, nats, mean over a tenth of the steps.
struct RecoveryLoss {
  int64_t tokens = 0;          // trained on
  int64_t resumed_tokens = 0;  // of them, those that a record brought
  double first = 0;
  double last = 0;
};

// Thread-compatible. Memory: four times the attention's weights as float32, the squares of its
// widths, the source's other matrices up to a bound, and what all layers keep of one step for the
// way back; see docs/conversion.md.
class Recovery {
 public:
  // Errors as FrozenModel's. `weights` must outlive it. `scale` multiplies scores before softmax.
  static absl::StatusOr<std::unique_ptr<Recovery>> Create(const SourceWeights& weights,
                                                          const MlaSpec& mla, double scale);

  // Where training starts; each layer once, before Train. REQUIRES: no norms of latents, and an
  // output projection.
  void SetLayer(int layer, const LatentWeights& weights);

  // One pass over `text`, in order. `source` runs on `backend`, with limits for calibration on
  // sequences of this length. Sequences of another length than the first are left out. Internal if
  // the loss is not finite; errors of the work folder. A training that goes on from a record ends
  // with the same bytes as one that was never interrupted.
  absl::StatusOr<RecoveryLoss> Train(Decoder& source, Backend& backend, TokenSequences text,
                                     const RecoveryOptions& options,
                                     const SequenceProgress& progress);

  // With `o` set.
  LatentWeights Layer(int layer) const;

 private:
  Recovery(FrozenModel frozen, const MlaSpec& mla, double scale);
  // For sequences of that length.
  TrainedLayer LayerOf(int layer, int length) const;
  // The residual stream after the last layer, for a whole sequence.
  absl::StatusOr<FloatMatrix> Forward(absl::Span<const int32_t> ids,
                                      std::vector<LayerTape>* tapes) const;
  // The loss of a batch of sequences of one length, whose source's residual stream after the last
  // layer is `source`, and its gradient, a layer each.
  absl::StatusOr<double> Gradients(TokenSequences batch, const FloatMatrix& source,
                                   ThreadPool& pool, std::vector<AttentionParameters>* gradients);

  FrozenModel frozen_;
  const MlaSpec mla_;
  const float scale_;
  std::vector<AttentionParameters> layers_;
  std::vector<std::vector<float>> inv_freq_;
  std::vector<std::vector<LayerTape>> tapes_;  // of each sequence of a step
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_RECOVER_RECOVERY_H_
