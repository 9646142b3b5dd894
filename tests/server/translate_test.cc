#include "server/translate.h"

#include <cmath>
#include <limits>
#include <string>

#include "absl/strings/match.h"
#include "google/rpc/error_details.pb.h"
#include <gtest/gtest.h>

#include "engine/base/error_reason.h"
#include "server/limits.h"

namespace transmla {
namespace {

struct Row {
  absl::Status status;
  grpc::StatusCode code;
  std::string reason;
  bool retry;
};

TEST(TranslateTest, EveryStatusHasCodeReasonAndRetry) {
  const Row rows[] = {
      {InvalidField("sampling.top_p", "is 2"), grpc::INVALID_ARGUMENT, "INVALID_PARAMETER", false},
      {WithReason(absl::InvalidArgumentError("long"), reason::kContextTooLong),
       grpc::INVALID_ARGUMENT, "CONTEXT_TOO_LONG", false},
      {absl::FailedPreconditionError("x"), grpc::FAILED_PRECONDITION, "FAILED_PRECONDITION", false},
      {ModelNotFound("other", {"mine"}), grpc::NOT_FOUND, "MODEL_NOT_FOUND", false},
      {absl::AlreadyExistsError("x"), grpc::ALREADY_EXISTS, "DUPLICATE_REQUEST", false},
      {absl::ResourceExhaustedError("x"), grpc::RESOURCE_EXHAUSTED, "QUEUE_FULL", true},
      {WithReason(absl::ResourceExhaustedError("x"), reason::kSlowConsumer),
       grpc::RESOURCE_EXHAUSTED, "SLOW_CONSUMER", false},
      {WithReason(absl::UnavailableError("x"), reason::kDraining), grpc::UNAVAILABLE, "DRAINING",
       true},
      {absl::DeadlineExceededError("x"), grpc::DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", false},
      {absl::CancelledError("x"), grpc::CANCELLED, "ABORTED_BY_CLIENT", false},
      {absl::AbortedError("x"), grpc::ABORTED, "OPERATION_IN_PROGRESS", false},
      {absl::UnimplementedError("x"), grpc::UNIMPLEMENTED, "FEATURE_NOT_SUPPORTED", false},
      {absl::DataLossError("x"), grpc::DATA_LOSS, "CHECKPOINT_CORRUPT", false},
      {absl::InternalError("x"), grpc::INTERNAL, "ENGINE_ERROR", false},
  };
  for (const Row& row : rows) {
    const grpc::Status status = ToGrpcStatus(row.status);
    EXPECT_EQ(status.error_code(), row.code) << row.reason;
    google::rpc::Status details;
    ASSERT_TRUE(details.ParseFromString(status.error_details()));
    EXPECT_EQ(details.code(), status.error_code());
    EXPECT_EQ(details.message(), status.error_message());
    google::rpc::ErrorInfo info;
    ASSERT_TRUE(details.details(0).UnpackTo(&info));
    EXPECT_EQ(info.domain(), "transmla.dev");
    EXPECT_EQ(info.reason(), row.reason);
    bool retry = false;
    for (const auto& detail : details.details()) retry |= detail.Is<google::rpc::RetryInfo>();
    EXPECT_EQ(retry, row.retry) << row.reason;
  }
  EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok());
}

TEST(TranslateTest, InvalidFieldNamesTheField) {
  google::rpc::Status details =
      ToRpcStatus(InvalidField("stop.max_tokens", "is 0; it must be positive"));
  google::rpc::BadRequest bad_request;
  ASSERT_TRUE(details.details(1).UnpackTo(&bad_request));
  EXPECT_EQ(bad_request.field_violations(0).field(), "stop.max_tokens");
}

TEST(TranslateTest, LongMessagesAreCutBetweenCharacters) {
  std::string text;
  while (text.size() < 5000) text += "ä";
  const grpc::Status status = ToGrpcStatus(absl::InternalError("x" + text));
  EXPECT_LE(status.error_message().size(), 1500u);
  EXPECT_EQ(status.error_message().size() % 2, 1u);
}

TEST(TranslateTest, ZeroIsAValueAndAbsentIsTheDefault) {
  v1::GenerateRequest message;
  EXPECT_EQ(ToEngineRequest(message, 7)->sampling.temperature, 1.0f);
  EXPECT_EQ(ToEngineRequest(message, 7)->sampling.seed, 7u);
  EXPECT_EQ(ToEngineRequest(message, 7)->logprobs, -1);
  message.mutable_sampling()->set_temperature(0);
  message.mutable_sampling()->set_seed(0);
  message.mutable_output()->set_logprobs(0);
  const auto request = ToEngineRequest(message, 7);
  ASSERT_TRUE(request.ok());
  EXPECT_EQ(request->sampling.temperature, 0.0f);
  EXPECT_EQ(request->sampling.seed, 0u);
  EXPECT_EQ(request->logprobs, 0);
}

TEST(TranslateTest, RulesForLogitsReachTheEngine) {
  v1::GenerateRequest message;
  v1::SamplingOptions* sampling = message.mutable_sampling();
  sampling->set_presence_penalty(0.5f);
  sampling->set_frequency_penalty(-0.25f);
  sampling->set_repetition_penalty(1.5f);
  sampling->set_typical_p(0.75f);
  for (const uint32_t id : {9, 2, 5}) (*sampling->mutable_logit_bias())[id] = 1;
  sampling->add_allowed_token_ids(4);
  message.mutable_cache()->set_bypass_prefix_cache(true);
  const auto request = ToEngineRequest(message, 7);
  ASSERT_TRUE(request.ok());
  EXPECT_EQ(request->sampling.presence_penalty, 0.5f);
  EXPECT_EQ(request->sampling.frequency_penalty, -0.25f);
  EXPECT_EQ(request->sampling.repetition_penalty, 1.5f);
  EXPECT_EQ(request->sampling.typical_p, 0.75f);
  const std::vector<std::pair<int32_t, float>> bias = {{2, 1.0f}, {5, 1.0f}, {9, 1.0f}};
  EXPECT_EQ(request->sampling.logit_bias, bias);
  EXPECT_EQ(request->sampling.allowed_tokens, std::vector<int32_t>{4});
  EXPECT_FALSE(request->prefix_cache);
  const auto plain = ToEngineRequest(v1::GenerateRequest(), 7);
  EXPECT_EQ(plain->sampling.repetition_penalty, 1.0f);
  EXPECT_TRUE(plain->prefix_cache);
}

TEST(TranslateTest, StatusesAreValidUtf8WhateverTheMessageHolds) {
  const google::rpc::Status status =
      ToRpcStatus(absl::InvalidArgumentError("half \xc3 a character"));
  EXPECT_EQ(status.message(), "half \xEF\xBF\xBD a character");
  const std::string long_text(4000, 'x');
  EXPECT_LE(ToGrpcStatus(absl::InternalError(long_text)).error_message().size(), 1500u);
}

TEST(TranslateTest, SaysWhenToRetry) {
  EXPECT_TRUE(RetryDelay(absl::UnavailableError("")).has_value());
  EXPECT_TRUE(RetryDelay(absl::ResourceExhaustedError("")).has_value());
  EXPECT_FALSE(
      RetryDelay(WithReason(absl::ResourceExhaustedError(""), reason::kSlowConsumer)).has_value());
  EXPECT_FALSE(RetryDelay(absl::InvalidArgumentError("")).has_value());
}

TEST(TranslateTest, RefusesWhatIsOutOfRange) {
  const float nan = std::nanf("");
  const float inf = std::numeric_limits<float>::infinity();
  std::vector<std::pair<std::string, v1::GenerateRequest>> bad;
  const auto add = [&](const std::string& field, auto change) {
    v1::GenerateRequest message;
    change(&message);
    bad.emplace_back(field, message);
  };
  for (const float value : {-1.0f, 100.5f, nan, inf}) {
    add("sampling.temperature", [&](auto* m) { m->mutable_sampling()->set_temperature(value); });
  }
  for (const float value : {0.0f, -0.1f, 1.01f, nan}) {
    add("sampling.top_p", [&](auto* m) { m->mutable_sampling()->set_top_p(value); });
  }
  for (const float value : {-0.1f, 1.5f, nan}) {
    add("sampling.min_p", [&](auto* m) { m->mutable_sampling()->set_min_p(value); });
  }
  for (const float value : {0.0f, 1.5f, nan}) {
    add("sampling.typical_p", [&](auto* m) { m->mutable_sampling()->set_typical_p(value); });
  }
  for (const float value : {-2.5f, 2.01f, nan}) {
    add("sampling.presence_penalty",
        [&](auto* m) { m->mutable_sampling()->set_presence_penalty(value); });
    add("sampling.frequency_penalty",
        [&](auto* m) { m->mutable_sampling()->set_frequency_penalty(value); });
  }
  for (const float value : {0.0f, -1.0f, 10.5f, nan}) {
    add("sampling.repetition_penalty",
        [&](auto* m) { m->mutable_sampling()->set_repetition_penalty(value); });
  }
  for (const float value : {-101.0f, 100.5f, nan}) {
    add("sampling.logit_bias",
        [&](auto* m) { (*m->mutable_sampling()->mutable_logit_bias())[7] = value; });
  }
  add("sampling.logit_bias",
      [](auto* m) { (*m->mutable_sampling()->mutable_logit_bias())[3000000000u] = 1; });
  add("sampling.logit_bias", [](auto* m) {
    for (uint32_t id = 0; id < 1025; ++id) (*m->mutable_sampling()->mutable_logit_bias())[id] = 1;
  });
  add("sampling.allowed_token_ids",
      [](auto* m) { m->mutable_sampling()->add_allowed_token_ids(3000000000u); });
  add("sampling.top_k", [](auto* m) { m->mutable_sampling()->set_top_k(4000000000u); });
  add("stop.max_tokens", [](auto* m) { m->mutable_stop()->set_max_tokens(0); });
  add("stop.max_tokens", [](auto* m) { m->mutable_stop()->set_max_tokens(4000000000u); });
  add("stop.min_tokens", [](auto* m) {
    m->mutable_stop()->set_max_tokens(4);
    m->mutable_stop()->set_min_tokens(5);
  });
  add("stop.stop_strings", [](auto* m) { m->mutable_stop()->add_stop_strings(std::string()); });
  add("stop.stop_strings",
      [](auto* m) { m->mutable_stop()->add_stop_strings(std::string(257, 'x')); });
  add("stop.stop_strings", [](auto* m) {
    for (int i = 0; i < 17; ++i) m->mutable_stop()->add_stop_strings(std::string(1, 'x'));
  });
  add("stop.stop_token_ids", [](auto* m) { m->mutable_stop()->add_stop_token_ids(3000000000u); });
  add("output.logprobs", [](auto* m) { m->mutable_output()->set_logprobs(21); });
  for (const auto& [field, message] : bad) {
    const auto request = ToEngineRequest(message, 0);
    ASSERT_FALSE(request.ok()) << field;
    EXPECT_TRUE(absl::StartsWith(request.status().message(), field)) << request.status();
  }
}

TEST(TranslateTest, ChecksIdsAndSequences) {
  EXPECT_TRUE(CheckRequestId(std::string(kMaxRequestIdBytes, 'a')).ok());
  EXPECT_FALSE(CheckRequestId(std::string(kMaxRequestIdBytes + 1, 'a')).ok());
  EXPECT_FALSE(CheckRequestId("a\nb").ok());
  EXPECT_FALSE(CheckRequestId("ä").ok());
  v1::GenerateRequest message;
  EXPECT_EQ(SequencesOf(message)->returned, 1);
  message.mutable_sampling()->set_num_sequences(0);
  EXPECT_FALSE(SequencesOf(message).ok());
  message.mutable_sampling()->set_num_sequences(17);
  EXPECT_FALSE(SequencesOf(message).ok());
}

}  // namespace
}  // namespace transmla
