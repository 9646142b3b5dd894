#include "tests/engine/model/model_runner.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "engine/backend/cpu/create.h"
#include "engine/base/check.h"
#include "engine/base/random.h"
#include "engine/base/status.h"
#include "engine/format/checkpoint.h"

namespace transmla {

absl::StatusOr<std::unique_ptr<ModelRunner>> ModelRunner::Open(const std::string& path,
                                                               const Options& options) {
  auto runner = std::unique_ptr<ModelRunner>(new ModelRunner);
  runner->options_ = options;
  ASSIGN_OR_RETURN(std::shared_ptr<const CheckpointReader> checkpoint, OpenCheckpoint(path));
  ASSIGN_OR_RETURN(
      runner->backend_,
      CreateCpuBackend({.threads = options.threads, .instruction_set = options.instruction_set}));
  ASSIGN_OR_RETURN(runner->decoder_,
                   LoadDecoder(std::move(checkpoint), runner->backend_.get(), options.limits));
  ASSIGN_OR_RETURN(runner->store_,
                   runner->backend_->CreateKvStore(runner->spec().CacheLayout(options.cache_dtype),
                                                   options.pages));
  runner->free_.resize(options.pages);
  std::iota(runner->free_.begin(), runner->free_.end(), 0);
  Random random(20);
  for (size_t i = runner->free_.size(); i > 1; --i) {
    std::swap(runner->free_[i - 1], runner->free_[random.Below(i)]);
  }
  return runner;
}

absl::StatusOr<std::vector<std::vector<float>>> ModelRunner::Step(const std::vector<Chunk>& chunks,
                                                                  Logits logits,
                                                                  DecoderObserver* observer) {
  RaggedBatch batch;
  batch.sequence_starts.push_back(0);
  batch.page_starts.push_back(0);
  for (const Chunk& chunk : chunks) {
    Sequence& sequence = sequences_[chunk.sequence];
    for (size_t i = 0; i < chunk.ids.size(); ++i) {
      if (sequence.tokens % kPageTokens == 0) {
        CHECK(!free_.empty());
        sequence.pages.push_back(free_.back());
        free_.pop_back();
      }
      if (logits == Logits::kAllTokens || i + 1 == chunk.ids.size()) {
        batch.logit_tokens.push_back(batch.tokens());
      }
      batch.token_ids.push_back(chunk.ids[i]);
      batch.positions.push_back(sequence.tokens++);
    }
    if (options_.limits.expanded_attention) {
      const int absorbed =
          std::clamp(options_.expanded_from - batch.positions[batch.sequence_starts.back()], 0,
                     static_cast<int>(chunk.ids.size()));
      batch.expanded.push_back({batch.sequence_starts.back() + absorbed, batch.tokens()});
    }
    batch.sequence_starts.push_back(batch.tokens());
    batch.pages.insert(batch.pages.end(), sequence.pages.begin(), sequence.pages.end());
    batch.page_starts.push_back(static_cast<int32_t>(batch.pages.size()));
  }
  ASSIGN_OR_RETURN(const absl::Span<const float> all, decoder_->Run(batch, store_.get(), observer));
  std::vector<std::vector<float>> result;
  size_t at = 0;
  for (const Chunk& chunk : chunks) {
    const size_t rows = logits == Logits::kAllTokens ? chunk.ids.size() : 1;
    const absl::Span<const float> part = all.subspan(at, rows * spec().vocab_size);
    result.emplace_back(part.begin(), part.end());
    at += part.size();
  }
  return result;
}

void ModelRunner::End(int sequence) {
  const auto it = sequences_.find(sequence);
  CHECK(it != sequences_.end());
  free_.insert(free_.end(), it->second.pages.begin(), it->second.pages.end());
  sequences_.erase(it);
}

}  // namespace transmla
