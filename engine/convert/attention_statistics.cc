#include "engine/convert/attention_statistics.h"

#include <algorithm>
#include <cstdint>

#include "engine/base/status.h"

namespace transmla {

AttentionObserver::AttentionObserver(Backend& backend, const ModelSpec& spec, HeadOrder head_order,
                                     bool with_all_queries)
    : backend_(backend), gqa_(spec.gqa), head_order_(std::move(head_order)) {
  const int width = 2 * gqa_.num_key_value_heads * gqa_.head_dim;
  AttentionStatistics empty{
      .key_value = SecondMoment(width),
      .key_value_sum = std::vector<double>(width),
      .query = std::vector<SecondMoment>(gqa_.num_attention_heads, SecondMoment(gqa_.head_dim)),
      .all_queries = with_all_queries ? SecondMoment(gqa_.num_attention_heads * gqa_.head_dim)
                                      : SecondMoment()};
  layers_.assign(spec.num_layers, empty);
}

absl::Status AttentionObserver::OnProjections(int layer, const TensorView& q, const TensorView& k,
                                              const TensorView& v) {
  q_.resize(q.shape.elements());
  k_.resize(k.shape.elements());
  v_.resize(v.shape.elements());
  RETURN_IF_ERROR(backend_.Read(q, absl::MakeSpan(q_)));
  RETURN_IF_ERROR(backend_.Read(k, absl::MakeSpan(k_)));
  RETURN_IF_ERROR(backend_.Read(v, absl::MakeSpan(v_)));
  ReorderHeads(head_order_, absl::MakeSpan(q_));
  ReorderHeads(head_order_, absl::MakeSpan(k_));
  AttentionStatistics& statistics = layers_[layer];
  const size_t tokens = q.shape[0], width = k_.size() / tokens, d = gqa_.head_dim;

  rows_.resize(2 * k_.size());
  for (size_t t = 0; t < tokens; ++t) {
    std::copy_n(k_.begin() + t * width, width, rows_.begin() + 2 * t * width);
    std::copy_n(v_.begin() + t * width, width, rows_.begin() + (2 * t + 1) * width);
  }
  statistics.key_value.Add(rows_);
  for (size_t i = 0; i < rows_.size(); ++i)
    statistics.key_value_sum[i % (2 * width)] += double{rows_[i]};

  if (statistics.all_queries.width() > 0) statistics.all_queries.Add(q_);
  const size_t heads = gqa_.num_attention_heads;
  rows_.resize(tokens * d);
  for (size_t head = 0; head < heads; ++head) {
    for (size_t t = 0; t < tokens; ++t)
      std::copy_n(q_.begin() + (t * heads + head) * d, d, rows_.begin() + t * d);
    statistics.query[head].Add(rows_);
  }
  return absl::OkStatus();
}

}  // namespace transmla
