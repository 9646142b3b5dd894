#include "client/lib/errors.h"

#include <string>

#include "google/rpc/error_details.pb.h"
#include <gtest/gtest.h>

namespace transmla {
namespace {

google::rpc::Status WithDetails() {
  google::rpc::Status status;
  status.set_code(8);
  status.set_message("the queue is full");
  google::rpc::ErrorInfo info;
  info.set_reason("QUEUE_FULL");
  status.add_details()->PackFrom(info);
  google::rpc::RetryInfo retry;
  retry.mutable_retry_delay()->set_seconds(1);
  retry.mutable_retry_delay()->set_nanos(500'000'000);
  status.add_details()->PackFrom(retry);
  return status;
}

TEST(ErrorsTest, TheReasonAndTheDelayAreInTheMessage) {
  const google::rpc::Status details = WithDetails();
  const absl::Status status = ToAbslStatus(
      grpc::Status(grpc::RESOURCE_EXHAUSTED, "the queue is full", details.SerializeAsString()));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(status.message(), "the queue is full [QUEUE_FULL]; retry in 1.5s");
  EXPECT_EQ(ToAbslStatus(details), status);
}

TEST(ErrorsTest, WithoutDetailsTheMessageStays) {
  for (const char* details : {"", "\xff\xff"}) {
    const absl::Status status =
        ToAbslStatus(grpc::Status(grpc::UNAVAILABLE, "connection refused", details));
    EXPECT_EQ(status, absl::UnavailableError("connection refused"));
  }
  EXPECT_TRUE(ToAbslStatus(grpc::Status::OK).ok());
  EXPECT_TRUE(ToAbslStatus(google::rpc::Status()).ok());
}

}  // namespace
}  // namespace transmla
