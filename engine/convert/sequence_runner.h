// SequenceRunner feeds whole sequences to a decoder, outside any scheduler: for calibration,
// sampling and evaluation.
//
// It has a fixed number of lanes, each with room for one sequence of `max_length` tokens in the
// cache. Thread-compatible; decoder and backend must outlive it.
#ifndef TRANSMLA_ENGINE_CONVERT_SEQUENCE_RUNNER_H_
#define TRANSMLA_ENGINE_CONVERT_SEQUENCE_RUNNER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include "engine/backend/backend.h"
#include "engine/model/decoder.h"

namespace transmla {

// Consecutive tokens of the sequence in one lane.
struct SequenceChunk {
  int lane = 0;
  int position = 0;  // of the first token; the lane's earlier positions must have been run
  absl::Span<const int32_t> tokens;  // at least one
  int logits = 0;                    // for that many of the last tokens
  bool expanded = false;             // whether they attend in expanded form (RaggedBatch)
};

// A step of chunks in different lanes of that many pages of the cache each.
RaggedBatch BatchOf(absl::Span<const SequenceChunk> chunks, int pages_per_lane);

class SequenceRunner {
 public:
  // ResourceExhausted if the backend's memory does not hold the lanes' cache.
  static absl::StatusOr<SequenceRunner> Create(Decoder& decoder, Backend& backend,
                                               DType cache_dtype, int lanes, int max_length);

  // One step of chunks in different lanes. Logits of all chunks, in order, [rows, vocab_size];
  // valid until the next Run.
  absl::StatusOr<absl::Span<const float>> Run(absl::Span<const SequenceChunk> chunks,
                                              DecoderObserver* observer = nullptr);

 private:
  SequenceRunner(Decoder& decoder, std::unique_ptr<KvStore> store, int pages_per_lane)
      : decoder_(&decoder), store_(std::move(store)), pages_per_lane_(pages_per_lane) {}

  Decoder* decoder_;
  std::unique_ptr<KvStore> store_;
  int pages_per_lane_;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_SEQUENCE_RUNNER_H_
