#include "engine/convert/calibrate.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/convert/sequence_runner.h"

namespace transmla {
namespace {

// Tokens of a calibration step: enough for matrix products to run at full speed; activations of a
// step stay small.
constexpr int kStepTokens = 512;

int LanesFor(int length) { return std::max(1, kStepTokens / length); }

class LatentObserver : public DecoderObserver {
 public:
  LatentObserver(Backend& backend, const ModelSpec& spec, bool with_queries)
      : backend_(backend), mla_(spec.mla) {
    moments_.kv.assign(spec.num_layers, SecondMoment(mla_.kv_lora_rank + mla_.qk_rope_head_dim));
    if (with_queries)
      moments_.query.assign(spec.num_layers,
                            SecondMoment(mla_.num_attention_heads * mla_.qk_nope_head_dim));
  }

  absl::Status OnLatentProjections(int layer, const TensorView& q, const TensorView& kv) override {
    buffer_.resize(kv.shape.elements());
    RETURN_IF_ERROR(backend_.Read(kv, absl::MakeSpan(buffer_)));
    moments_.kv[layer].Add(buffer_);
    if (moments_.query.empty()) return absl::OkStatus();
    buffer_.resize(q.shape.elements());
    RETURN_IF_ERROR(backend_.Read(q, absl::MakeSpan(buffer_)));
    DropRopeParts();
    moments_.query[layer].Add(buffer_);
    return absl::OkStatus();
  }

  LatentMoments Take() { return std::move(moments_); }

 private:
  // Keeps the first Dn of every Dn + Dr elements of the buffer.
  void DropRopeParts() {
    const size_t nope = mla_.qk_nope_head_dim, whole = nope + mla_.qk_rope_head_dim;
    const size_t heads = buffer_.size() / whole;
    for (size_t head = 0; head < heads; ++head)
      std::copy_n(buffer_.begin() + head * whole, nope, buffer_.begin() + head * nope);
    buffer_.resize(heads * nope);
  }

  Backend& backend_;
  MlaSpec mla_;
  LatentMoments moments_;
  std::vector<float> buffer_;
};

}  // namespace

absl::Status ObserveSequences(Decoder& decoder, Backend& backend, TokenSequences sequences,
                              DecoderObserver& observer, const SequenceProgress& progress) {
  size_t longest = 1;
  for (const std::vector<int32_t>& sequence : sequences)
    longest = std::max(longest, sequence.size());
  const int lanes = LanesFor(static_cast<int>(longest));
  ASSIGN_OR_RETURN(SequenceRunner runner, SequenceRunner::Create(decoder, backend, DType::kF32,
                                                                 lanes, static_cast<int>(longest)));
  for (size_t first = 0; first < sequences.size(); first += lanes) {
    const size_t count = std::min<size_t>(lanes, sequences.size() - first);
    for (size_t position = 0; position < longest; position += kStepTokens) {
      RETURN_IF_ERROR(progress(static_cast<int>(first), static_cast<int>(sequences.size())));
      std::vector<SequenceChunk> chunks;
      for (size_t lane = 0; lane < count; ++lane) {
        const std::vector<int32_t>& sequence = sequences[first + lane];
        if (position >= sequence.size()) continue;
        chunks.push_back({.lane = static_cast<int>(lane),
                          .position = static_cast<int>(position),
                          .tokens = absl::MakeConstSpan(sequence).subspan(position, kStepTokens)});
      }
      RETURN_IF_ERROR(runner.Run(chunks, &observer).status());
    }
    RETURN_IF_ERROR(progress(static_cast<int>(first + count), static_cast<int>(sequences.size())));
  }
  return absl::OkStatus();
}

StepLimits CalibrationLimits(int length) {
  return {.max_tokens = kStepTokens,
          .max_sequences = LanesFor(length),
          .max_logit_tokens = 1,
          .max_context_tokens = length};
}

KeyMoments::KeyMoments(Backend& backend, const ModelSpec& spec, HeadOrder head_order)
    : backend_(backend), head_order_(std::move(head_order)), moments_(spec.num_layers) {}

std::string KeyMoments::Take(int layer) {
  RecordWriter record;
  moments_[layer].Save(record);
  moments_[layer] = {};
  return record.Take();
}

absl::Status KeyMoments::OnProjections(int layer, const TensorView&, const TensorView& k,
                                       const TensorView&) {
  if (moments_[layer].width() == 0)
    moments_[layer] = SecondMoment(static_cast<int>(k.shape[1] * k.shape[2]));
  buffer_.resize(k.shape.elements());
  RETURN_IF_ERROR(backend_.Read(k, absl::MakeSpan(buffer_)));
  ReorderHeads(head_order_, absl::MakeSpan(buffer_));
  moments_[layer].Add(buffer_);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<SecondMoment>> CalibrateKeys(Decoder& decoder, Backend& backend,
                                                        TokenSequences sequences,
                                                        const SequenceProgress& progress) {
  CHECK(decoder.spec().attention == AttentionKind::kGqa);
  KeyMoments observer(backend, decoder.spec());
  RETURN_IF_ERROR(ObserveSequences(decoder, backend, sequences, observer, progress));
  return observer.TakeAll();
}

absl::StatusOr<LatentMoments> CalibrateLatents(Decoder& decoder, Backend& backend,
                                               TokenSequences sequences, bool with_queries,
                                               const SequenceProgress& progress) {
  CHECK(decoder.spec().attention == AttentionKind::kMla);
  LatentObserver observer(backend, decoder.spec(), with_queries);
  RETURN_IF_ERROR(ObserveSequences(decoder, backend, sequences, observer, progress));
  return observer.Take();
}

}  // namespace transmla
