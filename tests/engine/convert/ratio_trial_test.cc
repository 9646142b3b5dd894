#include "engine/convert/ratio_trial.h"

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace transmla {
namespace {

using ::testing::HasSubstr;

// Perplexity rises by `at_half` at half the cache, and as the square of what is missing.
RatioTrial Rises(double at_half, std::vector<double>* asked) {
  return [=](double ratio) -> absl::StatusOr<RatioReport> {
    asked->push_back(ratio);
    const double missing = 2 * (1 - ratio);
    RatioReport report{.cache_ratio = ratio};
    report.quality.perplexity_before = 20;
    report.quality.perplexity_after = 20 * (1 + at_half * missing * missing);
    return report;
  };
}

TEST(ChooseRatioTest, FindsTheSmallestThatIsGoodEnough) {
  for (int part = 1; part < 16; ++part) {
    std::vector<double> asked;
    std::vector<RatioReport> tried;
    const double missing = 2 * (1 - part / 16.0);
    const double rise = 0.1 * missing * missing;
    const auto ratio = ChooseRatio(rise * 1.0001, Rises(0.1, &asked), &tried);
    ASSERT_TRUE(ratio.ok()) << ratio.status();
    EXPECT_EQ(*ratio, part / 16.0);
    EXPECT_LE(asked.size(), 5);
    ASSERT_EQ(tried.size(), asked.size());
    for (size_t i = 0; i < asked.size(); ++i) EXPECT_EQ(tried[i].cache_ratio, asked[i]);
  }
}

TEST(ChooseRatioTest, SaysWhatTheBestWouldBeIfNoneIs) {
  std::vector<double> asked;
  std::vector<RatioReport> tried;
  const auto ratio = ChooseRatio(0.001, Rises(4, &asked), &tried);
  EXPECT_EQ(ratio.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(ratio.status().message()), HasSubstr("6.25 % even at 15/16"));
  EXPECT_EQ(asked, std::vector<double>{0.9375});
}

TEST(ChooseRatioTest, RatiosThatAModelCannotHaveAreTooSmall) {
  std::vector<double> asked;
  std::vector<RatioReport> tried;
  const RatioTrial rises = Rises(0.1, &asked);
  const auto ratio = ChooseRatio(
      10,
      [&](double wanted) -> absl::StatusOr<RatioReport> {
        if (wanted < 0.2) return absl::InvalidArgumentError("too small");
        return rises(wanted);
      },
      &tried);
  ASSERT_TRUE(ratio.ok()) << ratio.status();
  EXPECT_EQ(*ratio, 0.25);
}

TEST(ChooseRatioTest, OtherErrorsEndIt) {
  std::vector<RatioReport> tried;
  const auto ratio = ChooseRatio(
      10, [](double) -> absl::StatusOr<RatioReport> { return absl::CancelledError("enough"); },
      &tried);
  EXPECT_EQ(ratio.status().code(), absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace transmla
