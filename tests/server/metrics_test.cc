#include "server/metrics.h"

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/base/error_reason.h"
#include "server/translate.h"

namespace transmla {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(MetricsTest, EveryRowIsWellNamedAndExplained) {
  std::set<std::string> names;
  for (const MetricRow& row : Metrics::Table()) {
    const std::string name = row.name;
    EXPECT_TRUE(names.insert(name).second) << name << " twice";
    EXPECT_TRUE(absl::StartsWith(name, "transmla_") || absl::StartsWith(name, "process_")) << name;
    EXPECT_EQ(name.find(':'), std::string::npos) << name;
    EXPECT_FALSE(std::string(row.help).empty()) << name;
    const bool is_counter = row.type == prometheus::MetricType::Counter;
    EXPECT_EQ(absl::EndsWith(name, "_total"), is_counter) << name;
    EXPECT_EQ(row.label == nullptr, row.values.empty()) << name;
    EXPECT_EQ(!row.buckets.empty(), row.type == prometheus::MetricType::Histogram) << name;
    EXPECT_TRUE(std::is_sorted(row.buckets.begin(), row.buckets.end())) << name;
    if (std::string(row.unit) == "seconds") {
      EXPECT_TRUE(absl::StrContains(name, "seconds")) << name;
    }
    if (std::string(row.unit) == "bytes") {
      EXPECT_TRUE(absl::StrContains(name, "bytes")) << name;
    }
  }
}

TEST(MetricsTest, EverySeriesExistsFromTheStart) {
  Metrics metrics("m", true);
  const std::string text = metrics.Text({});
  for (const MetricRow& row : Metrics::Table()) {
    EXPECT_THAT(text, HasSubstr(absl::StrCat("# HELP ", row.name, " "))) << row.name;
    if (row.vllm_name != nullptr) {
      EXPECT_THAT(text, HasSubstr(absl::StrCat("# TYPE ", row.vllm_name, " "))) << row.vllm_name;
    }
    for (const char* value : row.values) {
      EXPECT_THAT(text, HasSubstr(absl::StrCat(row.label, "=\"", value, "\"")));
    }
  }
  EXPECT_THAT(text, HasSubstr("transmla_requests_running{model=\"m\"} 0"));
  EXPECT_THAT(text, HasSubstr("vllm:num_requests_running{model_name=\"m\",engine=\"0\"} 0"));
}

TEST(MetricsTest, VllmNamesAreAnOption) {
  Metrics metrics("m", false);
  EXPECT_THAT(metrics.Text({}), Not(HasSubstr("vllm:")));
}

TEST(MetricsTest, UsageCountsLivePages) {
  Metrics metrics("m", false);
  MetricsSnapshot snapshot;
  snapshot.engine.pages_total = 8;
  snapshot.engine.pages_used = 2;
  snapshot.engine.bytes_per_page = 100;
  const std::string text = metrics.Text(snapshot);
  EXPECT_THAT(text, HasSubstr("transmla_kv_cache_usage_ratio{model=\"m\"} 0.25"));
  EXPECT_THAT(text, HasSubstr("transmla_kv_cache_bytes{model=\"m\",state=\"free\"} 600"));
}

TEST(MetricsTest, ModelsShareFamiliesAndTheProcessIsToldOfOnce) {
  Metrics first("a", true);
  Metrics second("b", true);
  second.CountStalledStream();
  std::vector<prometheus::MetricFamily> families = first.Collect({});
  second.AddTo({}, &families);
  const std::string text = Metrics::ToText(families);
  std::set<std::string> names;
  for (const prometheus::MetricFamily& family : families) {
    EXPECT_TRUE(names.insert(family.name).second) << family.name << " twice";
  }
  EXPECT_THAT(text, HasSubstr("transmla_stream_stalled_total{model=\"a\"} 0"));
  EXPECT_THAT(text, HasSubstr("transmla_stream_stalled_total{model=\"b\"} 1"));
  EXPECT_THAT(text, HasSubstr("vllm:num_requests_running{model_name=\"b\",engine=\"0\"} 0"));
  EXPECT_THAT(text, Not(HasSubstr("transmla_conversion_progress_ratio{model=\"b\"}")));
  for (const prometheus::MetricFamily& family : families) {
    if (absl::StartsWith(family.name, "process_")) {
      EXPECT_EQ(family.metric.size(), 1u) << family.name;
    }
  }
}

TEST(MetricsTest, CountsEndsAndRefusalsByReason) {
  Metrics metrics("m", true);
  metrics.OnEnd(absl::OkStatus(), FinishReason::kStop, {}, {});
  metrics.OnEnd(absl::OkStatus(), FinishReason::kCancelled, {}, {});
  metrics.OnEnd(absl::DeadlineExceededError(""), FinishReason::kStop, {}, {});
  metrics.CountRefusal(absl::ResourceExhaustedError(""));
  metrics.CountRefusal(WithReason(absl::InvalidArgumentError(""), reason::kContextTooLong));
  const std::string text = metrics.Text({});
  EXPECT_THAT(text, HasSubstr("finish_reason=\"stop\"} 1"));
  EXPECT_THAT(text, HasSubstr("finish_reason=\"cancelled\"} 1"));
  EXPECT_THAT(text, HasSubstr("finish_reason=\"deadline\"} 1"));
  // vLLM has one word for both.
  EXPECT_THAT(text, HasSubstr("finished_reason=\"abort\",engine=\"0\"} 2"));
  EXPECT_THAT(text, HasSubstr("reason=\"queue_requests\"} 1"));
  EXPECT_THAT(text, HasSubstr("reason=\"too_long\"} 1"));
}

}  // namespace
}  // namespace transmla
