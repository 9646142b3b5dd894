#include "engine/convert/attention_statistics.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>

#include "engine/base/status.h"
#include "engine/convert/received_attention.h"
#include "engine/convert/work_record.h"

namespace transmla {

namespace {

AttentionStatistics NoStatistics(const GqaSpec& gqa, bool with_all_queries) {
  const int width = 2 * gqa.num_key_value_heads * gqa.head_dim;
  return {.key_value = SecondMoment(width),
          .key_value_sum = std::vector<double>(width),
          .query = std::vector<SecondMoment>(gqa.num_attention_heads, SecondMoment(gqa.head_dim)),
          .all_queries = with_all_queries ? SecondMoment(gqa.num_attention_heads * gqa.head_dim)
                                          : SecondMoment()};
}

}  // namespace

absl::StatusOr<AttentionStatistics> ParseAttentionStatistics(absl::string_view record) {
  RecordReader reader(record);
  AttentionStatistics statistics;
  statistics.key_value = SecondMoment::Load(reader);
  statistics.key_value_sum = reader.Values<double>();
  statistics.all_queries = SecondMoment::Load(reader);
  const int64_t heads = reader.Number();
  for (int64_t head = 0; head < heads; ++head)
    statistics.query.push_back(SecondMoment::Load(reader));
  RETURN_IF_ERROR(reader.Finish());
  return statistics;
}

AttentionObserver::AttentionObserver(Backend& backend, const ModelSpec& spec, HeadOrder head_order,
                                     bool with_all_queries)
    : backend_(backend),
      spec_(spec),
      head_order_(std::move(head_order)),
      with_all_queries_(with_all_queries),
      statistics_(NoStatistics(spec.gqa, with_all_queries)) {}

std::string AttentionObserver::Take(int) {
  RecordWriter record;
  statistics_.key_value.Save(record);
  record.Put(statistics_.key_value_sum);
  statistics_.all_queries.Save(record);
  record.Put(static_cast<int64_t>(statistics_.query.size()));
  for (const SecondMoment& moment : statistics_.query) moment.Save(record);
  statistics_ = NoStatistics(spec_.gqa, with_all_queries_);
  return record.Take();
}

std::vector<float> AttentionObserver::Received(int layer) const {
  std::vector<float> received;
  const auto rows = [](const std::vector<float>& all, int64_t begin, int64_t end, int64_t width) {
    FloatMatrix part(end - begin, width);
    std::copy(all.begin() + begin * width, all.begin() + end * width, part.values().begin());
    return part;
  };
  const int64_t q_width = int64_t{spec_.gqa.num_attention_heads} * spec_.gqa.head_dim;
  const int64_t k_width = int64_t{spec_.gqa.num_key_value_heads} * spec_.gqa.head_dim;
  for (size_t i = 0; i + 1 < sequence_starts_.size(); ++i) {
    const int64_t begin = sequence_starts_[i], end = sequence_starts_[i + 1];
    const std::vector<float> own = ReceivedAttention(spec_, layer, rows(q_, begin, end, q_width),
                                                     rows(k_, begin, end, k_width));
    received.insert(received.end(), own.begin(), own.end());
  }
  return received;
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
  const size_t tokens = q.shape[0], width = k_.size() / tokens, d = spec_.gqa.head_dim;

  const std::vector<float> received = Received(layer);
  rows_.resize(2 * k_.size());
  for (size_t t = 0; t < tokens; ++t) {
    // Its product with itself then has the weight.
    const float root = std::sqrt(received[t]);
    for (size_t i = 0; i < width; ++i) {
      rows_[2 * t * width + i] = root * k_[t * width + i];
      rows_[(2 * t + 1) * width + i] = root * v_[t * width + i];
    }
    for (size_t i = 0; i < 2 * width; ++i)
      statistics_.key_value_sum[i] += double{root} * rows_[2 * t * width + i];
  }
  statistics_.key_value.Add(rows_);

  if (statistics_.all_queries.width() > 0) statistics_.all_queries.Add(q_);
  const size_t heads = spec_.gqa.num_attention_heads;
  rows_.resize(tokens * d);
  for (size_t head = 0; head < heads; ++head) {
    for (size_t t = 0; t < tokens; ++t)
      std::copy_n(q_.begin() + (t * heads + head) * d, d, rows_.begin() + t * d);
    statistics_.query[head].Add(rows_);
  }
  return absl::OkStatus();
}

}  // namespace transmla
