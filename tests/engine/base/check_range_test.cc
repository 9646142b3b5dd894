#include "engine/base/check_range.h"

#include "gtest/gtest.h"

namespace transmla {
namespace {

TEST(CheckRangeTest, BothEndsAreInside) {
  EXPECT_TRUE(CheckRange("n", 1, 1, 3).ok());
  EXPECT_TRUE(CheckRange("n", 3, 1, 3).ok());
  EXPECT_EQ(CheckRange("n", 0, 1, 3).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CheckRange("n", 4, 1, 3).code(), absl::StatusCode::kInvalidArgument);
}

TEST(CheckRangeTest, TheErrorNamesNumberValueAndBounds) {
  EXPECT_EQ(CheckRange("--threads", -7, 0, 1024).message(),
            "--threads is -7; it must be from 0 to 1024");
  EXPECT_EQ(
      CheckRange("--grace-period", absl::Hours(2), absl::ZeroDuration(), absl::Hours(1)).message(),
      "--grace-period is 2h; it must be from 0 to 1h");
}

TEST(CheckRangeTest, AnInfiniteDurationIsOutside) {
  EXPECT_FALSE(
      CheckRange("t", absl::InfiniteDuration(), absl::ZeroDuration(), absl::Hours(1)).ok());
}

}  // namespace
}  // namespace transmla
