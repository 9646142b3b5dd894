#include "engine/convert/sequence_runner.h"

#include <utility>

#include "engine/base/check.h"
#include "engine/base/checked_math.h"
#include "engine/base/status.h"

namespace transmla {

absl::StatusOr<SequenceRunner> SequenceRunner::Create(Decoder& decoder, Backend& backend,
                                                      DType cache_dtype, int lanes,
                                                      int max_length) {
  const int pages_per_lane = CeilDiv(max_length, kPageTokens);
  ASSIGN_OR_RETURN(
      std::unique_ptr<KvStore> store,
      backend.CreateKvStore(decoder.spec().CacheLayout(cache_dtype), lanes * pages_per_lane));
  return SequenceRunner(decoder, std::move(store), pages_per_lane);
}

RaggedBatch BatchOf(absl::Span<const SequenceChunk> chunks, int pages_per_lane) {
  RaggedBatch batch;
  batch.sequence_starts.push_back(0);
  batch.page_starts.push_back(0);
  for (const SequenceChunk& chunk : chunks) {
    CHECK(!chunk.tokens.empty());
    const int end = chunk.position + static_cast<int>(chunk.tokens.size());
    CHECK_LE(end, pages_per_lane * kPageTokens);
    batch.token_ids.insert(batch.token_ids.end(), chunk.tokens.begin(), chunk.tokens.end());
    for (int position = chunk.position; position < end; ++position)
      batch.positions.push_back(position);
    batch.expanded.push_back(
        {chunk.expanded ? batch.sequence_starts.back() : batch.tokens(), batch.tokens()});
    batch.sequence_starts.push_back(batch.tokens());
    for (int page = 0; page < CeilDiv(end, kPageTokens); ++page)
      batch.pages.push_back(static_cast<PageId>(chunk.lane * pages_per_lane + page));
    batch.page_starts.push_back(static_cast<int32_t>(batch.pages.size()));
    for (int i = batch.tokens() - chunk.logits; i < batch.tokens(); ++i)
      batch.logit_tokens.push_back(i);
  }
  return batch;
}

absl::StatusOr<absl::Span<const float>> SequenceRunner::Run(absl::Span<const SequenceChunk> chunks,
                                                            DecoderObserver* observer) {
  return decoder_->Run(BatchOf(chunks, pages_per_lane_), store_.get(), observer);
}

}  // namespace transmla
