// What the recipe `best` knows of a layer's attention: second moments of what its projections give.
#ifndef TRANSMLA_ENGINE_CONVERT_ATTENTION_STATISTICS_H_
#define TRANSMLA_ENGINE_CONVERT_ATTENTION_STATISTICS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "engine/backend/backend.h"
#include "engine/convert/head_order.h"
#include "engine/convert/layer_statistics.h"
#include "engine/convert/moments.h"
#include "engine/model/decoder.h"

namespace transmla {

// Sums over tokens, before RoPE, biases and norms of heads included. What concerns keys and values
// counts each token by the attention it receives (received_attention.h), with a mean weight of 1.
struct AttentionStatistics {
  SecondMoment key_value;             // of [k; v], width 2·L
  std::vector<double> key_value_sum;  // Σ [k; v], [2·L]
  std::vector<SecondMoment> query;    // a head: width d
  SecondMoment all_queries;  // of all heads side by side, width H·d; empty unless asked for
};

// From what AttentionObserver::Take gave. DataLoss if it is not whole.
absl::StatusOr<AttentionStatistics> ParseAttentionStatistics(absl::string_view record);

// Gathers them from a grouped-query model over all that it runs while this observes it: whole
// sequences from position 0, or long pieces of them, since attention is that within a step. One
// layer after the other. The backend must outlive it. Memory is that of a layer's sums.
class AttentionObserver : public LayerStatistics {
 public:
  // Dimensions of heads are summed in the order `head_order`.
  AttentionObserver(Backend& backend, const ModelSpec& spec, HeadOrder head_order,
                    bool with_all_queries);
  absl::Status OnStep(const RaggedBatch& batch) override {
    sequence_starts_ = batch.sequence_starts;
    return absl::OkStatus();
  }
  absl::Status OnProjections(int layer, const TensorView& q, const TensorView& k,
                             const TensorView& v) override;
  std::string Take(int layer) override;

 private:
  // Of each token of the step, from q_ and k_.
  std::vector<float> Received(int layer) const;

  Backend& backend_;
  const ModelSpec spec_;
  const HeadOrder head_order_;
  std::vector<int32_t> sequence_starts_;
  const bool with_all_queries_;
  AttentionStatistics statistics_;       // of the layer that runs
  std::vector<float> q_, k_, v_, rows_;  // of a step, on the host
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_ATTENTION_STATISTICS_H_
