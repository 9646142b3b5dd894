#include "server/metrics.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include <prometheus/histogram.h>
#include <prometheus/text_serializer.h>

#include "engine/base/check.h"
#include "engine/base/error_reason.h"
#include "engine/base/page.h"
#include "server/process_stats.h"
#include "server/translate.h"
#include "server/version.h"

namespace transmla {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

// Bounds as vLLM has them, so that dashboards compare; the phases start lower, for small models.
constexpr double kFirstToken[] = {.001, .005, .01, .02, .04, .06, .08, .1, .25, .5,  .75,
                                  1,    2.5,  5,   7.5, 10,  20,  40,  80, 160, 640, 2560};
constexpr double kInterToken[] = {.01, .025, .05, .075, .1,  .15, .2, .3, .4, .5,
                                  .75, 1,    2.5, 5,    7.5, 10,  20, 40, 80};
constexpr double kPhase[] = {.001, .005, .01, .025, .05, .1,  .2,   .3,  .5, .8,
                             1,    1.5,  2,   2.5,  5,   10,  15,   20,  30, 40,
                             50,   60,   120, 240,  480, 960, 1920, 7680};
constexpr double kStepSeconds[] = {.0005, .001, .0025, .005, .01, .025, .05, .1,
                                   .25,   .5,   1,     2.5,  5,   10,   30};
constexpr double kStepTokens[] = {1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384};
constexpr double kBatch[] = {1, 2, 4, 8, 16, 32, 64, 128, 256};
constexpr double kLength[] = {1,    2,    5,    10,    20,    50,    100,    200,    500,
                              1000, 2000, 5000, 10000, 20000, 50000, 100000, 200000, 500000};
constexpr double kConversion[] = {1, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600};

// Index into the table below, in its order. From kConversions on they belong to the process.
enum Row {
  kRunning,
  kWaiting,
  kWaitingTokens,
  kUsage,
  kPages,
  kSharedPages,
  kSpilledPages,
  kRestoredPages,
  kSpillFailures,
  kCacheBytes,
  kBytesPerToken,
  kGqaBytesPerToken,
  kCacheConfig,
  kDeviceMemory,
  kPrefixQueried,
  kPrefixHit,
  kPreemptions,
  kSteps,
  kPromptTokens,
  kGenerationTokens,
  kDraftTokens,
  kAcceptedDraftTokens,
  kFinished,
  kRejections,
  kTimeToFirstToken,
  kInterTokenLatency,
  kEndToEnd,
  kQueueTime,
  kPrefillTime,
  kDecodeTime,
  kRequestPromptTokens,
  kRequestGenerationTokens,
  kStepTokensRow,
  kStepSecondsRow,
  kBatchSize,
  kBacklog,
  kStalled,
  kCancelToFree,
  kHeartbeat,
  kState,
  kConversions,
  kConversionProgress,
  kConversionSeconds,
  kConversionsFinished,
  kBuildInfo,
  kResidentBytes,
  kCpuSeconds,
  kOpenFds,
  kThreads,
  kStartTime,
  kNumRows
};

const std::vector<MetricRow>& Rows() {
  constexpr auto kGauge = MetricType::Gauge;
  constexpr auto kCounter = MetricType::Counter;
  constexpr auto kHistogram = MetricType::Histogram;
  static const auto* const rows = new std::vector<MetricRow>{
      {"transmla_requests_running",
       kGauge,
       "1",
       nullptr,
       {},
       {},
       "Sequences that the engine computes now.",
       "vllm:num_requests_running"},
      {"transmla_requests_waiting",
       kGauge,
       "1",
       nullptr,
       {},
       {},
       "Sequences that wait for a place in the batch.",
       "vllm:num_requests_waiting"},
      {"transmla_waiting_prompt_tokens",
       kGauge,
       "tokens",
       nullptr,
       {},
       {},
       "Prompt tokens of the waiting sequences.",
       nullptr},
      {"transmla_kv_cache_usage_ratio",
       kGauge,
       "1",
       nullptr,
       {},
       {},
       "Share of cache pages that live requests hold, 0 to 1.",
       "vllm:kv_cache_usage_perc"},
      {"transmla_kv_cache_blocks",
       kGauge,
       "1",
       "state",
       {"used", "cached", "free"},
       {},
       "Pages of the latent cache.",
       nullptr},
      {"transmla_kv_cache_shared_blocks",
       kGauge,
       "1",
       nullptr,
       {},
       {},
       "Pages of the latent cache that several sequences use.",
       nullptr},
      {"transmla_spilled_blocks",
       kGauge,
       "1",
       nullptr,
       {},
       {},
       "Pages whose contents are in the spill file.",
       nullptr},
      {"transmla_restored_blocks_total",
       kCounter,
       "1",
       nullptr,
       {},
       {},
       "Pages that came back from the spill file.",
       nullptr},
      {"transmla_spill_failures_total",
       kCounter,
       "1",
       nullptr,
       {},
       {},
       "Pages that the spill file could not take, or did not give back as they were.",
       nullptr},
      {"transmla_kv_cache_bytes",
       kGauge,
       "bytes",
       "state",
       {"used", "cached", "free"},
       {},
       "Bytes of the latent cache.",
       nullptr},
      {"transmla_kv_cache_bytes_per_token",
       kGauge,
       "bytes",
       nullptr,
       {},
       {},
       "What one token takes in the cache, all layers.",
       nullptr},
      {"transmla_kv_cache_gqa_equivalent_bytes_per_token",
       kGauge,
       "bytes",
       nullptr,
       {},
       {},
       "What one token took before the conversion, same cache type.",
       nullptr},
      {"transmla_cache_config_info",
       kGauge,
       "1",
       nullptr,
       {},
       {},
       "Shape of the cache, in labels; always 1.",
       "vllm:cache_config_info"},
      {"transmla_device_memory_bytes",
       kGauge,
       "bytes",
       "kind",
       {"weights", "kv_cache"},
       {},
       "Device memory by use.",
       nullptr},
      {"transmla_prefix_cache_queried_tokens_total",
       kCounter,
       "tokens",
       nullptr,
       {},
       {},
       "Tokens of sequences that looked for their beginning in the cache.",
       "vllm:prefix_cache_queries_total"},
      {"transmla_prefix_cache_hit_tokens_total",
       kCounter,
       "tokens",
       nullptr,
       {},
       {},
       "Tokens found in the cache, not computed again.",
       "vllm:prefix_cache_hits_total"},
      {"transmla_preemptions_total",
       kCounter,
       "1",
       nullptr,
       {},
       {},
       "Sequences put back to make room for others.",
       "vllm:num_preemptions_total"},
      {"transmla_steps_total", kCounter, "1", nullptr, {}, {}, "Steps of the engine.", nullptr},
      {"transmla_prompt_tokens_total",
       kCounter,
       "tokens",
       "source",
       {"computed", "cached"},
       {},
       "Prompt tokens processed, or found in the prefix cache.",
       "vllm:prompt_tokens_total"},
      {"transmla_generation_tokens_total",
       kCounter,
       "tokens",
       nullptr,
       {},
       {},
       "Tokens generated.",
       "vllm:generation_tokens_total"},
      {"transmla_draft_tokens_total",
       kCounter,
       "tokens",
       nullptr,
       {},
       {},
       "Tokens guessed from what was there, and checked.",
       "vllm:spec_decode_num_draft_tokens_total"},
      {"transmla_accepted_draft_tokens_total",
       kCounter,
       "tokens",
       nullptr,
       {},
       {},
       "Guessed tokens that were right: each saved a step of its sequence.",
       "vllm:spec_decode_num_accepted_tokens_total"},
      {"transmla_requests_finished_total",
       kCounter,
       "1",
       "finish_reason",
       {"stop", "length", "cancelled", "deadline", "error"},
       {},
       "Accepted sequences that ended.",
       "vllm:request_success_total"},
      {"transmla_admission_rejections_total",
       kCounter,
       "1",
       "reason",
       {"queue_requests", "queue_tokens", "too_long", "memory", "draining", "not_ready", "invalid",
        "other"},
       {},
       "Requests refused before the engine accepted them.",
       nullptr},
      {"transmla_time_to_first_token_seconds",
       kHistogram,
       "seconds",
       nullptr,
       {},
       kFirstToken,
       "Arrival to first generated token.",
       "vllm:time_to_first_token_seconds"},
      {"transmla_inter_token_latency_seconds",
       kHistogram,
       "seconds",
       nullptr,
       {},
       kInterToken,
       "Between two generated tokens of a sequence.",
       "vllm:inter_token_latency_seconds"},
      {"transmla_e2e_request_latency_seconds",
       kHistogram,
       "seconds",
       nullptr,
       {},
       kPhase,
       "Arrival to end.",
       "vllm:e2e_request_latency_seconds"},
      {"transmla_request_queue_seconds",
       kHistogram,
       "seconds",
       nullptr,
       {},
       kPhase,
       "Arrival to first computed token.",
       nullptr},
      {"transmla_request_prefill_seconds",
       kHistogram,
       "seconds",
       nullptr,
       {},
       kPhase,
       "First computed token to first generated token.",
       nullptr},
      {"transmla_request_decode_seconds",
       kHistogram,
       "seconds",
       nullptr,
       {},
       kPhase,
       "First generated token to end.",
       nullptr},
      {"transmla_request_prompt_tokens",
       kHistogram,
       "tokens",
       nullptr,
       {},
       kLength,
       "Prompt tokens of a request.",
       nullptr},
      {"transmla_request_generation_tokens",
       kHistogram,
       "tokens",
       nullptr,
       {},
       kLength,
       "Generated tokens of a request.",
       nullptr},
      {"transmla_step_tokens",
       kHistogram,
       "tokens",
       nullptr,
       {},
       kStepTokens,
       "Tokens of a step, prompts and generated.",
       nullptr},
      {"transmla_step_seconds",
       kHistogram,
       "seconds",
       nullptr,
       {},
       kStepSeconds,
       "Duration of a step.",
       nullptr},
      {"transmla_batch_size",
       kHistogram,
       "1",
       nullptr,
       {},
       kBatch,
       "Sequences of a step.",
       nullptr},
      {"transmla_stream_backlog_bytes",
       kGauge,
       "bytes",
       nullptr,
       {},
       {},
       "Output that waits for slow readers.",
       nullptr},
      {"transmla_stream_stalled_total",
       kCounter,
       "1",
       nullptr,
       {},
       {},
       "Streams ended because their reader took nothing for too long.",
       nullptr},
      {"transmla_cancel_to_free_seconds",
       kHistogram,
       "seconds",
       nullptr,
       {},
       kPhase,
       "Cancellation to free pages.",
       nullptr},
      {"transmla_engine_heartbeat_age_seconds",
       kGauge,
       "seconds",
       nullptr,
       {},
       {},
       "Since the engine last showed itself alive.",
       nullptr},
      {"transmla_engine_state",
       kGauge,
       "1",
       "state",
       {"starting", "ready", "draining", "failed"},
       {},
       "1 for the present state, 0 for the others.",
       nullptr},
      {"transmla_conversion_operations",
       kGauge,
       "1",
       "state",
       {"queued", "running"},
       {},
       "Conversions that are not done.",
       nullptr},
      {"transmla_conversion_progress_ratio",
       kGauge,
       "1",
       nullptr,
       {},
       {},
       "Of the running conversion, 0 to 1.",
       nullptr},
      {"transmla_conversion_seconds",
       kHistogram,
       "seconds",
       "result",
       {"succeeded", "failed", "cancelled"},
       kConversion,
       "Duration of a conversion.",
       nullptr},
      {"transmla_conversions_finished_total",
       kCounter,
       "1",
       "result",
       {"succeeded", "failed", "cancelled"},
       {},
       "Conversions that are done.",
       nullptr},
      {"transmla_build_info",
       kGauge,
       "1",
       nullptr,
       {},
       {},
       "Version of the server, in labels; always 1.",
       nullptr},
      {"process_resident_memory_bytes",
       kGauge,
       "bytes",
       nullptr,
       {},
       {},
       "Resident memory of the process.",
       nullptr},
      {"process_cpu_seconds_total",
       kCounter,
       "seconds",
       nullptr,
       {},
       {},
       "Processor time of the process, user and system.",
       nullptr},
      {"process_open_fds", kGauge, "1", nullptr, {}, {}, "Open file descriptors.", nullptr},
      {"process_threads", kGauge, "1", nullptr, {}, {}, "Threads of the process.", nullptr},
      {"process_start_time_seconds",
       kGauge,
       "seconds",
       nullptr,
       {},
       {},
       "Start of the process, since the Unix epoch.",
       nullptr},
  };
  CHECK_EQ(rows->size(), static_cast<size_t>(kNumRows));
  return *rows;
}

// The value that vLLM gives this label.
std::string VllmLabelValue(const ClientMetric::Label& label) {
  if (label.name != "finish_reason") return label.value;
  return label.value == "cancelled" || label.value == "deadline" ? "abort" : label.value;
}

ClientMetric::Label VllmLabel(const ClientMetric::Label& label) {
  if (label.name == "model") return {"model_name", label.value};
  if (label.name == "finish_reason") return {"finished_reason", VllmLabelValue(label)};
  return label;
}

// The family under vLLM's name and labels; series that its labels do not tell apart are added up.
MetricFamily AsVllm(const MetricFamily& family, const char* name) {
  MetricFamily copy{name, family.help, family.type, {}};
  for (ClientMetric metric : family.metric) {
    // vLLM's prompt tokens have no source.
    metric.label.erase(std::remove_if(metric.label.begin(), metric.label.end(),
                                      [](const auto& label) { return label.name == "source"; }),
                       metric.label.end());
    for (ClientMetric::Label& label : metric.label) label = VllmLabel(label);
    metric.label.push_back({"engine", "0"});
    const auto same = std::find_if(copy.metric.begin(), copy.metric.end(),
                                   [&](const auto& other) { return other.label == metric.label; });
    if (same == copy.metric.end()) {
      copy.metric.push_back(std::move(metric));
    } else {
      same->counter.value += metric.counter.value;
    }
  }
  return copy;
}

absl::string_view RefusalLabel(const absl::Status& status) {
  const std::string why = ErrorReason(status);
  if (why == reason::kQueueTokensFull) return "queue_tokens";
  if (why == reason::kContextTooLong) return "too_long";
  if (why == reason::kDraining) return "draining";
  if (why == reason::kNoChatTemplate) return "invalid";
  switch (status.code()) {
    case absl::StatusCode::kResourceExhausted:
      return "queue_requests";
    case absl::StatusCode::kUnavailable:
      return "not_ready";
    case absl::StatusCode::kFailedPrecondition:
      return "memory";
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kAlreadyExists:
      return "invalid";
    default:
      return "other";
  }
}

absl::string_view FinishLabel(const absl::Status& status, FinishReason reason) {
  if (absl::IsDeadlineExceeded(status)) return "deadline";
  if (absl::IsCancelled(status)) return "cancelled";
  if (!status.ok()) return "error";
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kCancelled:
      return "cancelled";
  }
  return "error";
}

}  // namespace

absl::string_view ServerStateName(ServerState state) {
  switch (state) {
    case ServerState::kStarting:
      return "starting";
    case ServerState::kReady:
      return "ready";
    case ServerState::kDraining:
      return "draining";
    case ServerState::kFailed:
      return "failed";
  }
  return "failed";
}

struct Metrics::Series {
  std::string label_value;
  std::atomic<double> value{0};
  std::unique_ptr<prometheus::Histogram> histogram;

  // Relaxed: sums of single series need no order among each other.
  void Add(double amount) { value.fetch_add(amount, std::memory_order_relaxed); }
};

struct Metrics::Family {
  std::vector<std::unique_ptr<Series>> series;
};

absl::Span<const MetricRow> Metrics::Table() { return Rows(); }

Metrics::Metrics(std::string model_name, bool vllm_names)
    : model_name_(std::move(model_name)), vllm_names_(vllm_names) {
  for (const MetricRow& row : Rows()) {
    Family& family = families_.emplace_back();
    const std::vector<const char*> none = {""};
    for (const char* value : row.label == nullptr ? none : row.values) {
      auto series = std::make_unique<Series>();
      series->label_value = value;
      if (row.type == MetricType::Histogram) {
        series->histogram = std::make_unique<prometheus::Histogram>(
            prometheus::Histogram::BucketBoundaries(row.buckets.begin(), row.buckets.end()));
      }
      family.series.push_back(std::move(series));
    }
  }
}

Metrics::~Metrics() = default;

Metrics::Series& Metrics::At(int row, absl::string_view label_value) {
  for (const auto& series : families_[static_cast<size_t>(row)].series) {
    if (series->label_value == label_value) return *series;
  }
  CheckFailed(__FILE__, __LINE__,
              absl::StrCat(Rows()[static_cast<size_t>(row)].name, " has no label value \"",
                           label_value, "\""));
}

void Metrics::Set(int row, double value, absl::string_view label_value) {
  At(row, label_value).value.store(value, std::memory_order_relaxed);
}

void Metrics::OnStep(absl::Duration duration, int tokens, int sequences) {
  At(kStepSecondsRow).histogram->Observe(absl::ToDoubleSeconds(duration));
  At(kStepTokensRow).histogram->Observe(tokens);
  At(kBatchSize).histogram->Observe(sequences);
}

void Metrics::OnFirstToken(absl::Duration since_arrival) {
  At(kTimeToFirstToken).histogram->Observe(absl::ToDoubleSeconds(since_arrival));
}

void Metrics::OnNextToken(absl::Duration since_previous) {
  At(kInterTokenLatency).histogram->Observe(absl::ToDoubleSeconds(since_previous));
}

void Metrics::OnEnd(const absl::Status& status, FinishReason reason, const RequestUsage& usage,
                    const RequestTimings& timings) {
  At(kFinished, FinishLabel(status, reason)).Add(1);
  At(kEndToEnd).histogram->Observe(absl::ToDoubleSeconds(timings.total));
  At(kQueueTime).histogram->Observe(absl::ToDoubleSeconds(timings.queue));
  At(kPrefillTime).histogram->Observe(absl::ToDoubleSeconds(timings.prefill));
  At(kDecodeTime).histogram->Observe(absl::ToDoubleSeconds(timings.decode));
  At(kRequestPromptTokens).histogram->Observe(usage.prompt_tokens);
  At(kRequestGenerationTokens).histogram->Observe(usage.completion_tokens);
}

void Metrics::OnCancelled(absl::Duration to_free) {
  At(kCancelToFree).histogram->Observe(absl::ToDoubleSeconds(to_free));
}

void Metrics::CountRefusal(const absl::Status& status) {
  At(kRejections, RefusalLabel(status)).Add(1);
}

void Metrics::CountStalledStream() { At(kStalled).Add(1); }

void Metrics::CountConversion(const absl::Status& result, absl::Duration duration) {
  const absl::string_view label = result.ok()                 ? "succeeded"
                                  : absl::IsCancelled(result) ? "cancelled"
                                                              : "failed";
  At(kConversionsFinished, label).Add(1);
  At(kConversionSeconds, label).histogram->Observe(absl::ToDoubleSeconds(duration));
}

void Metrics::Update(const MetricsSnapshot& snapshot) {
  const EngineStats& engine = snapshot.engine;
  const int64_t pages_free = engine.pages_total - engine.pages_used - engine.pages_kept;
  const auto number = [](int64_t value) { return static_cast<double>(value); };
  Set(kRunning, number(engine.requests_running));
  Set(kWaiting, number(engine.requests_waiting));
  Set(kWaitingTokens, number(engine.queued_prompt_tokens));
  Set(kUsage, engine.pages_total > 0 ? number(engine.pages_used) / number(engine.pages_total) : 0);
  Set(kPages, number(engine.pages_used), "used");
  Set(kPages, number(engine.pages_kept), "cached");
  Set(kSharedPages, number(engine.pages_shared));
  Set(kSpilledPages, number(engine.pages_spilled));
  Set(kRestoredPages, number(engine.pages_restored));
  Set(kSpillFailures, number(engine.spill_failures));
  Set(kPages, number(pages_free), "free");
  Set(kCacheBytes, number(engine.pages_used * engine.bytes_per_page), "used");
  Set(kCacheBytes, number(engine.pages_kept * engine.bytes_per_page), "cached");
  Set(kCacheBytes, number(pages_free * engine.bytes_per_page), "free");
  Set(kBytesPerToken, number(engine.cache_bytes_per_token));
  Set(kGqaBytesPerToken, number(engine.gqa_equivalent_bytes_per_token));
  Set(kDeviceMemory, number(engine.pages_total * engine.bytes_per_page), "kv_cache");
  if (snapshot.model != nullptr) {
    Set(kDeviceMemory, number(snapshot.model->weight_bytes), "weights");
  }
  Set(kPrefixQueried, number(engine.prefix_queried_tokens));
  Set(kPrefixHit, number(engine.prefix_hit_tokens));
  Set(kPreemptions, number(engine.preemptions));
  Set(kSteps, number(engine.steps));
  Set(kPromptTokens, number(engine.prompt_tokens_computed), "computed");
  Set(kPromptTokens, number(engine.prompt_tokens_cached), "cached");
  Set(kGenerationTokens, number(engine.generation_tokens));
  Set(kDraftTokens, number(engine.draft_tokens));
  Set(kAcceptedDraftTokens, number(engine.accepted_draft_tokens));
  Set(kHeartbeat, absl::ToDoubleSeconds(engine.heartbeat_age));
  for (const ServerState state : {ServerState::kStarting, ServerState::kReady,
                                  ServerState::kDraining, ServerState::kFailed}) {
    Set(kState, state == snapshot.state ? 1 : 0, ServerStateName(state));
  }
  Set(kBacklog, number(snapshot.backlog_bytes));
  Set(kConversions, number(snapshot.conversions_queued), "queued");
  Set(kConversions, number(snapshot.conversions_running), "running");
  Set(kConversionProgress, snapshot.conversion_progress);
  Set(kCacheConfig, 1);
  Set(kBuildInfo, 1);
  UpdateProcess();
}

void Metrics::UpdateProcess() {
  const ProcessStats process = ReadProcessStats();
  Set(kResidentBytes, static_cast<double>(process.resident_bytes));
  Set(kCpuSeconds, process.cpu_seconds);
  Set(kOpenFds, static_cast<double>(process.open_fds));
  Set(kThreads, static_cast<double>(process.threads));
  Set(kStartTime, process.start_time_seconds);
}

std::vector<ClientMetric::Label> Metrics::InfoLabels(int row,
                                                     const MetricsSnapshot& snapshot) const {
  if (row == kBuildInfo) return {{"version", kVersion}};
  if (row != kCacheConfig) return {};
  const ModelInfo none;
  const ModelInfo& model = snapshot.model != nullptr ? *snapshot.model : none;
  return {{"block_size", absl::StrCat(kPageTokens)},
          {"num_gpu_blocks", absl::StrCat(model.cache_pages)},
          {"latent_dim", absl::StrCat(model.spec.mla.kv_lora_rank)},
          {"rope_dim", absl::StrCat(model.spec.mla.qk_rope_head_dim)},
          {"cache_dtype", std::string(CacheDTypeName(model.cache_dtype))}};
}

std::vector<MetricFamily> Metrics::Collect(const MetricsSnapshot& snapshot) {
  Update(snapshot);
  std::vector<MetricFamily> result;
  for (int i = 0; i < kNumRows; ++i) {
    const MetricRow& row = Rows()[static_cast<size_t>(i)];
    MetricFamily family{row.name, row.help, row.type, {}};
    for (const auto& series : families_[static_cast<size_t>(i)].series) {
      ClientMetric metric;
      const double value = series->value.load(std::memory_order_relaxed);
      if (series->histogram != nullptr) metric = series->histogram->Collect();
      metric.counter.value = value;
      metric.gauge.value = value;
      // What belongs to the process does not belong to a model.
      if (i < kBuildInfo) metric.label.push_back({"model", model_name_});
      if (row.label != nullptr) metric.label.push_back({row.label, series->label_value});
      for (ClientMetric::Label& label : InfoLabels(i, snapshot)) {
        metric.label.push_back(std::move(label));
      }
      family.metric.push_back(std::move(metric));
    }
    if (vllm_names_ && row.vllm_name != nullptr) result.push_back(AsVllm(family, row.vllm_name));
    result.push_back(std::move(family));
  }
  return result;
}

void Metrics::AddTo(const MetricsSnapshot& snapshot, std::vector<MetricFamily>* families) {
  std::set<std::string> of_process;
  for (int i = kConversions; i < kNumRows; ++i)
    of_process.insert(Rows()[static_cast<size_t>(i)].name);
  for (MetricFamily& family : Collect(snapshot)) {
    if (of_process.count(family.name) > 0) continue;
    const auto same = std::find_if(families->begin(), families->end(),
                                   [&](const auto& other) { return other.name == family.name; });
    CHECK(same != families->end());  // both of the same table
    std::move(family.metric.begin(), family.metric.end(), std::back_inserter(same->metric));
  }
}

std::string Metrics::Text(const MetricsSnapshot& snapshot) { return ToText(Collect(snapshot)); }

std::string Metrics::ToText(const std::vector<MetricFamily>& families) {
  std::ostringstream out;
  prometheus::TextSerializer().Serialize(out, families);
  return out.str();
}

}  // namespace transmla
