// StepRunner computes one step: the model behind the engine loop, or a stub in tests.
#ifndef TRANSMLA_ENGINE_SERVE_STEP_RUNNER_H_
#define TRANSMLA_ENGINE_SERVE_STEP_RUNNER_H_

#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include "engine/backend/ragged_batch.h"
#include "engine/model/decoder.h"

namespace transmla {

class StepRunner {
 public:
  virtual ~StepRunner() = default;
  virtual int vocab_size() const = 0;
  // Logits of batch.logit_tokens, [logit_tokens, vocab_size], valid until the next call.
  // Calls `alive` now and then meanwhile, for whoever watches the engine: a step may be long.
  virtual absl::StatusOr<absl::Span<const float>> Run(const RaggedBatch& batch,
                                                      absl::FunctionRef<void()> alive) = 0;
};

// A decoder with its cache. Neither is owned.
class DecoderRunner : public StepRunner {
 public:
  DecoderRunner(Decoder* decoder, KvStore* store) : decoder_(decoder), store_(store) {}
  int vocab_size() const override { return decoder_->spec().vocab_size; }
  absl::StatusOr<absl::Span<const float>> Run(const RaggedBatch& batch,
                                              absl::FunctionRef<void()> alive) override {
    Pulse pulse(alive);
    return decoder_->Run(batch, store_, &pulse);
  }

 private:
  class Pulse : public DecoderObserver {
   public:
    explicit Pulse(absl::FunctionRef<void()> alive) : alive_(alive) {}
    absl::Status OnLayerOutput(int, const TensorView&) override {
      alive_();
      return absl::OkStatus();
    }

   private:
    absl::FunctionRef<void()> alive_;
  };

  Decoder* const decoder_;
  KvStore* const store_;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_SERVE_STEP_RUNNER_H_
