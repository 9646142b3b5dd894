#include "engine/convert/calibrate.h"

#include <algorithm>
#include <utility>

#include "engine/base/status.h"
#include "engine/convert/work_record.h"

namespace transmla {
namespace {

// Tokens of a calibration step: enough for matrix products to run at full speed; activations of a
// step stay small.
constexpr int kStepTokens = 512;

}  // namespace

StepLimits CalibrationLimits(int length) {
  return {.max_tokens = kStepTokens,
          .max_sequences = std::max(1, kStepTokens / length),
          .max_logit_tokens = 1,
          .max_context_tokens = length};
}

std::string KeyMoments::Take(int) {
  RecordWriter record;
  moment_.Save(record);
  moment_ = {};
  return record.Take();
}

absl::Status KeyMoments::OnProjections(int, const TensorView&, const TensorView& k,
                                       const TensorView&) {
  if (moment_.width() == 0) moment_ = SecondMoment(static_cast<int>(k.shape[1] * k.shape[2]));
  buffer_.resize(k.shape.elements());
  RETURN_IF_ERROR(backend_.Read(k, absl::MakeSpan(buffer_)));
  ReorderHeads(head_order_, absl::MakeSpan(buffer_));
  moment_.Add(buffer_);
  return absl::OkStatus();
}

absl::Status LatentObserver::OnLatentProjections(int, const TensorView& q, const TensorView& kv) {
  if (moments_.kv.width() == 0) {
    moments_.kv = SecondMoment(mla_.kv_lora_rank + mla_.qk_rope_head_dim);
    if (with_queries_)
      moments_.query = SecondMoment(mla_.num_attention_heads * mla_.qk_nope_head_dim);
  }
  buffer_.resize(kv.shape.elements());
  RETURN_IF_ERROR(backend_.Read(kv, absl::MakeSpan(buffer_)));
  moments_.kv.Add(buffer_);
  if (!with_queries_) return absl::OkStatus();
  buffer_.resize(q.shape.elements());
  RETURN_IF_ERROR(backend_.Read(q, absl::MakeSpan(buffer_)));
  DropRopeParts();
  moments_.query.Add(buffer_);
  return absl::OkStatus();
}

std::string LatentObserver::Take(int) {
  RecordWriter record;
  moments_.kv.Save(record);
  moments_.query.Save(record);
  moments_ = {};
  return record.Take();
}

void LatentObserver::DropRopeParts() {
  const size_t nope = mla_.qk_nope_head_dim, whole = nope + mla_.qk_rope_head_dim;
  const size_t heads = buffer_.size() / whole;
  for (size_t head = 0; head < heads; ++head)
    std::copy_n(buffer_.begin() + head * whole, nope, buffer_.begin() + head * nope);
  buffer_.resize(heads * nope);
}

absl::StatusOr<LatentMoments> ParseLatentMoments(absl::string_view record) {
  RecordReader reader(record);
  LatentMoments moments;
  moments.kv = SecondMoment::Load(reader);
  moments.query = SecondMoment::Load(reader);
  RETURN_IF_ERROR(reader.Finish());
  return moments;
}

}  // namespace transmla
