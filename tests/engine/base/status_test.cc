#include "engine/base/status.h"

#include <string>

#include "gtest/gtest.h"

#include "engine/base/check.h"
#include "engine/base/error_reason.h"

namespace transmla {
namespace {

TEST(StatusTest, AnnotationKeepsCodeAndReason) {
  const absl::Status status =
      Annotate(WithReason(absl::ResourceExhaustedError("full"), "QUEUE_FULL"), "submit");
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(status.message(), "submit: full");
  EXPECT_EQ(ErrorReason(status), "QUEUE_FULL");
  EXPECT_TRUE(Annotate(absl::OkStatus(), "submit").ok());
}

TEST(StatusTest, OnlyErrorsHaveReasons) {
  EXPECT_EQ(WithReason(absl::OkStatus(), "X"), absl::OkStatus());
  EXPECT_EQ(ErrorReason(absl::OkStatus()), "");
  EXPECT_EQ(ErrorReason(absl::InternalError("bug")), "");
}

absl::StatusOr<int> Half(int number) {
  if (number % 2 != 0) return absl::InvalidArgumentError("odd");
  return number / 2;
}

absl::StatusOr<int> Quarter(int number) {
  ASSIGN_OR_RETURN(const int half, Half(number));
  RETURN_IF_ERROR(Half(half).status());
  return half / 2;
}

TEST(StatusTest, MacrosReturnTheFirstError) {
  EXPECT_EQ(*Quarter(8), 2);
  EXPECT_EQ(Quarter(3).status(), absl::InvalidArgumentError("odd"));
  EXPECT_EQ(Quarter(6).status(), absl::InvalidArgumentError("odd"));
}

TEST(CheckDeathTest, NamesPlaceConditionAndOperands) {
  const int three = 3;
  EXPECT_DEATH(CHECK_EQ(three, 4), "status_test.cc:.*three == 4 .3 against 4.");
  EXPECT_DEATH(CHECK(three > 4), "status_test.cc:.*three > 4");
  EXPECT_DEATH(CHECK_OK(absl::InternalError("bug")), "INTERNAL: bug");
  CHECK_LT(three, 4);
}

}  // namespace
}  // namespace transmla
