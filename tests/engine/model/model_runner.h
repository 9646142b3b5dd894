// ModelRunner: a model with its backend and cache, driven step by step as the engine drives it.
#ifndef TRANSMLA_TESTS_ENGINE_MODEL_MODEL_RUNNER_H_
#define TRANSMLA_TESTS_ENGINE_MODEL_MODEL_RUNNER_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "engine/backend/backend.h"
#include "engine/model/decoder.h"

namespace transmla {

class ModelRunner {
 public:
  struct Options {
    std::string instruction_set = "auto";
    int threads = 2;
    DType cache_dtype = DType::kF32;  // as transformers computes
    StepLimits limits = {
        .max_tokens = 256, .max_sequences = 8, .max_logit_tokens = 256, .max_context_tokens = 256};
    int pages = 32;
    // Positions from here on attend in expanded form, if limits allow any to.
    int expanded_from = 0;
  };
  // The next tokens of a sequence, which begins with its first chunk.
  struct Chunk {
    int sequence = 0;
    std::vector<int> ids;
  };
  // Of which tokens a step gives logits.
  enum class Logits { kAllTokens, kLastTokens };

  // Opens the checkpoint at `path` and loads it onto a CPU backend.
  static absl::StatusOr<std::unique_ptr<ModelRunner>> Open(const std::string& path,
                                                           const Options& options);

  const ModelSpec& spec() const { return decoder_->spec(); }

  // Runs one step. Element i of the result are chunk i's logits, [its tokens or 1, vocab_size].
  absl::StatusOr<std::vector<std::vector<float>>> Step(const std::vector<Chunk>& chunks,
                                                       Logits logits = Logits::kAllTokens,
                                                       DecoderObserver* observer = nullptr);
  // Ends a sequence: its pages, whose contents stay as they are, go to those that need some next.
  void End(int sequence);

 private:
  struct Sequence {
    int tokens = 0;
    std::vector<PageId> pages;
  };

  ModelRunner() = default;

  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Decoder> decoder_;
  std::unique_ptr<KvStore> store_;
  std::vector<PageId> free_;  // taken from the back, in no order
  std::map<int, Sequence> sequences_;
  Options options_;
};

}  // namespace transmla

#endif  // TRANSMLA_TESTS_ENGINE_MODEL_MODEL_RUNNER_H_
