#include "engine/convert/report_page.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace transmla {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

ConversionReport Measured() {
  ConversionReport report;
  report.source = "a<b>&\"c\".gguf";
  report.recipe = "best";
  report.num_layers = 2;
  report.kv_lora_rank = 3;
  report.latent_width = 12;
  report.cache_bytes_per_token_before = 200;
  report.cache_bytes_per_token_after = 50;
  report.layers = {{.layer = 0, .key_error = 0.25, .cost_left = {1, 0.5, 0}},
                   {.layer = 1, .value_error = 7, .cost_left = {1, 0.25, 0}}};
  report.quality = QualityReport{.perplexity_after = 12.5};
  report.recovery = RecoveryReport{.tokens = 77};
  return report;
}

size_t Count(const std::string& page, const char* part) {
  const std::vector<std::string> parts = absl::StrSplit(page, part);
  return parts.size() - 1;
}

TEST(ReportPageTest, ShowsWhatWasMeasured) {
  const std::string page = ReportPage(Measured());
  EXPECT_THAT(page, HasSubstr("25.0 %"));  // of the cache
  EXPECT_THAT(page, HasSubstr("12.5000 after"));
  EXPECT_THAT(page, HasSubstr("77 tokens, KL"));
  EXPECT_THAT(page, HasSubstr("layer 0, position-free keys: 25.00 %"));
  EXPECT_THAT(page, HasSubstr("rank 3"));
  EXPECT_EQ(Count(page, "<polyline"), 2u);
  EXPECT_EQ(Count(page, "<svg"), 3u);
}

TEST(ReportPageTest, IsOneClosedFileThatLoadsNothing) {
  const std::string page = ReportPage(Measured());
  for (const char* tag : {"html", "body", "table", "svg", "h2"})
    EXPECT_EQ(Count(page, (std::string("<") + tag).c_str()),
              Count(page, (std::string("</") + tag + ">").c_str()))
        << tag;
  for (const char* link : {"http", "src=", "href=", "<script", "url("})
    EXPECT_THAT(page, Not(HasSubstr(link)));
}

TEST(ReportPageTest, EscapesNames) {
  const std::string page = ReportPage(Measured());
  EXPECT_THAT(page, HasSubstr("a&lt;b&gt;&amp;&quot;c&quot;.gguf"));
  EXPECT_THAT(page, Not(HasSubstr("a<b>")));
}

TEST(ReportPageTest, LeavesOutWhatWasNot) {
  ConversionReport report = Measured();
  report.layers.clear();
  report.quality.reset();
  report.recovery.reset();
  const std::string page = ReportPage(report);
  EXPECT_EQ(Count(page, "<svg"), 0u);
  EXPECT_THAT(page, Not(HasSubstr("perplexity")));
  EXPECT_THAT(page, Not(HasSubstr("recovery")));
}

// An error above 100 % stays inside the plot.
TEST(ReportPageTest, BarsEndAtTheTop) {
  EXPECT_THAT(ReportPage(Measured()), HasSubstr("height=\"220.00\" fill=\"#e80\""));
}

}  // namespace
}  // namespace transmla
