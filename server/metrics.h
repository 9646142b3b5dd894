// Metrics: what the server tells Prometheus. One table (metrics.cc) holds every metric: name, unit,
// label and its values, help; every series exists from the start.
//
// One object is the series of one model. Our own names are colon-free and carry the label `model`.
// With vllm_names the same values appear again under the names that vLLM's dashboards, autoscalers
// and routers ask for. Thread-safe. Observations are atomics or short locks; none is shared with
// the engine.
#ifndef TRANSMLA_SERVER_METRICS_H_
#define TRANSMLA_SERVER_METRICS_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include <prometheus/metric_family.h>

#include "engine/engine.h"
#include "engine/serve/stats.h"

namespace transmla {

enum class ServerState { kStarting, kReady, kDraining, kFailed };
absl::string_view ServerStateName(ServerState state);

// What a scrape reads from elsewhere.
struct MetricsSnapshot {
  EngineStats engine;
  const ModelInfo* model = nullptr;  // null while loading
  ServerState state = ServerState::kStarting;
  int64_t backlog_bytes = 0;
  int64_t conversions_queued = 0;
  int64_t conversions_running = 0;
  double conversion_progress = 0;  // of the running one, 0 to 1
};

// One row of the table, for documentation and tests.
struct MetricRow {
  const char* name;
  prometheus::MetricType type;
  const char* unit;                 // "seconds", "bytes", "tokens", "1" for counts and ratios
  const char* label;                // beside `model`; null: none
  std::vector<const char*> values;  // of the label
  absl::Span<const double> buckets;
  const char* help;
  const char* vllm_name;  // null: none
};

class Metrics : public StatsSink {
 public:
  Metrics(std::string model_name, bool vllm_names);
  ~Metrics() override;

  // --- StatsSink, on the engine's thread ---
  void OnStep(absl::Duration duration, int tokens, int sequences) override;
  void OnFirstToken(absl::Duration since_arrival) override;
  void OnNextToken(absl::Duration since_previous) override;
  void OnEnd(const absl::Status& status, FinishReason reason, const RequestUsage& usage,
             const RequestTimings& timings) override;
  void OnCancelled(absl::Duration to_free) override;

  // A request that the engine did not accept.
  void CountRefusal(const absl::Status& status);
  void CountStalledStream();
  // `result` is a terminal status of a conversion.
  void CountConversion(const absl::Status& result, absl::Duration duration);

  // All families, with values of `snapshot`.
  std::vector<prometheus::MetricFamily> Collect(const MetricsSnapshot& snapshot);
  // Adds this model's series to families that another model's Collect gave. What belongs to the
  // process (conversions, build, process_*) is there already.
  void AddTo(const MetricsSnapshot& snapshot, std::vector<prometheus::MetricFamily>* families);
  // The same in Prometheus' text format.
  std::string Text(const MetricsSnapshot& snapshot);
  static std::string ToText(const std::vector<prometheus::MetricFamily>& families);

  static absl::Span<const MetricRow> Table();

 private:
  struct Series;
  struct Family;

  Series& At(int row, absl::string_view label_value = "");
  void Set(int row, double value, absl::string_view label_value = "");
  void Update(const MetricsSnapshot& snapshot);
  void UpdateProcess();
  std::vector<prometheus::ClientMetric::Label> InfoLabels(int row,
                                                          const MetricsSnapshot& snapshot) const;

  const std::string model_name_;
  const bool vllm_names_;
  std::vector<Family> families_;  // one a row
};

}  // namespace transmla

#endif  // TRANSMLA_SERVER_METRICS_H_
