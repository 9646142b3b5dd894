// The whole server over a real gRPC connection, with an engine whose pace the test sets.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "google/longrunning/operations.grpc.pb.h"
#include "google/protobuf/wrappers.pb.h"
#include "google/rpc/error_details.pb.h"
#include "transmla/v1/generation.grpc.pb.h"
#include "transmla/v1/model.grpc.pb.h"
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include "engine/base/thread.h"
#include "server/server.h"
#include "tests/server/fake_engine.h"

namespace transmla {
namespace {

using testing::FakeEngine;

struct StreamResult {
  grpc::Status status;
  std::vector<v1::GenerateResponse> messages;
  std::vector<std::string> texts;
  std::vector<int> finished;
};

std::string ReasonOf(const grpc::Status& status) {
  google::rpc::Status details;
  google::rpc::ErrorInfo info;
  if (!details.ParseFromString(status.error_details()) || details.details().empty()) return "";
  return details.details(0).UnpackTo(&info) ? info.reason() : "";
}

bool HasRetryInfo(const grpc::Status& status) {
  google::rpc::Status details;
  details.ParseFromString(status.error_details());
  for (const auto& detail : details.details()) {
    if (detail.Is<google::rpc::RetryInfo>()) return true;
  }
  return false;
}

class ServiceTest : public ::testing::Test {
 protected:
  void Start(FakeEngine::Options options = {}, bool load = true) {
    ServerConfig config;
    config.engine.model_name = "fake";
    config.listen = "127.0.0.1:0";
    config.metrics_listen = "127.0.0.1:0";
    config.grace_period = absl::Seconds(20);
    config.stream_stall_timeout = absl::Seconds(1);
    ServerParts parts;
    parts.make_engine = [this, options](const EngineOptions&, Clock*, StatsSink* stats) {
      auto engine = std::make_unique<FakeEngine>(options, stats);
      engine_ = engine.get();
      return absl::StatusOr<std::unique_ptr<Engine>>(std::move(engine));
    };
    auto server = Server::Start(config, parts);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    channel_ = grpc::CreateChannel(absl::StrCat("127.0.0.1:", server_->port()),
                                   grpc::InsecureChannelCredentials());
    generation_ = v1::GenerationService::NewStub(channel_);
    models_ = v1::ModelService::NewStub(channel_);
    if (load) {
      ASSERT_TRUE(server_->Load().ok());
    }
  }

  static v1::GenerateRequest Request(const std::string& prompt, uint32_t max_tokens) {
    v1::GenerateRequest request;
    request.set_text(prompt);
    request.mutable_stop()->set_max_tokens(max_tokens);
    return request;
  }

  StreamResult Stream(const v1::GenerateRequest& request, grpc::ClientContext* context) {
    StreamResult result;
    result.texts.resize(16);
    result.finished.resize(16);
    auto reader = generation_->Generate(context, request);
    v1::GenerateResponse message;
    while (reader->Read(&message)) {
      result.messages.push_back(message);
      if (message.has_chunk()) {
        EXPECT_EQ(result.finished[message.chunk().index()], 0) << "a chunk after Finished";
        result.texts[message.chunk().index()] += message.chunk().text();
      }
      if (message.has_finished()) ++result.finished[message.finished().index()];
    }
    result.status = reader->Finish();
    return result;
  }
  StreamResult Stream(const v1::GenerateRequest& request) {
    grpc::ClientContext context;
    return Stream(request, &context);
  }

  // grpc.health.v1, whose C++ classes Debian does not package: its messages have the same bytes as
  // these. 1 is SERVING, 2 NOT_SERVING.
  int HealthOf(const std::string& service) {
    grpc::TemplatedGenericStub<google::protobuf::StringValue, google::protobuf::Int32Value> stub(
        channel_);
    google::protobuf::StringValue request;
    request.set_value(service);
    grpc::ClientContext context;
    grpc::CompletionQueue queue;
    const auto call =
        stub.PrepareUnaryCall(&context, "/grpc.health.v1.Health/Check", request, &queue);
    call->StartCall();
    google::protobuf::Int32Value response;
    grpc::Status status;
    call->Finish(&response, &status, this);
    void* tag = nullptr;
    bool ok = false;
    queue.Next(&tag, &ok);
    EXPECT_TRUE(status.ok()) << service << ": " << status.error_message();
    return response.value();
  }

  // Whether nothing is left in the engine, soon.
  bool BecomesIdle() {
    for (int i = 0; i < 2000; ++i) {
      if (engine_->live() == 0 && engine_->tickets() == 0) return true;
      absl::SleepFor(absl::Milliseconds(5));
    }
    return false;
  }

  std::unique_ptr<Server> server_;
  FakeEngine* engine_ = nullptr;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::GenerationService::Stub> generation_;
  std::unique_ptr<v1::ModelService::Stub> models_;
};

TEST_F(ServiceTest, StreamKeepsItsContract) {
  Start();
  const StreamResult result = Stream(Request("abc", 10));
  ASSERT_TRUE(result.status.ok()) << result.status.error_message();
  ASSERT_GE(result.messages.size(), 3u);
  EXPECT_EQ(result.messages[0].accepted().prompt_tokens(), 3u);
  EXPECT_FALSE(result.messages[0].accepted().request_id().empty());
  EXPECT_EQ(result.texts[0], "abcabcabca");
  EXPECT_EQ(result.finished[0], 1);
  EXPECT_TRUE(result.messages.back().has_finished());
  EXPECT_EQ(result.messages.back().finished().reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(result.messages.back().usage().completion_tokens(), 10u);
  EXPECT_TRUE(BecomesIdle());
  EXPECT_EQ(engine_->cancel_calls(), 0) << "no cancel after a normal end";
}

TEST_F(ServiceTest, OnceEqualsStreamForEverySequence) {
  Start();
  v1::GenerateRequest request = Request("xy", 7);
  request.mutable_sampling()->set_num_sequences(3);
  request.mutable_sampling()->set_seed(5);
  request.mutable_output()->set_token_ids(true);
  const StreamResult stream = Stream(request);
  ASSERT_TRUE(stream.status.ok());
  grpc::ClientContext context;
  v1::GenerateOnceRequest once;
  *once.mutable_request() = request;
  v1::GenerateOnceResponse response;
  ASSERT_TRUE(generation_->GenerateOnce(&context, once, &response).ok());
  ASSERT_EQ(response.completions_size(), 3);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(response.completions(i).text(), stream.texts[static_cast<size_t>(i)]);
    EXPECT_EQ(response.completions(i).tokens_size(), 7);
    EXPECT_EQ(response.completions(i).finished().seed(), 5u + static_cast<uint64_t>(i));
  }
  EXPECT_EQ(response.usage().completion_tokens(), 21u);
  EXPECT_EQ(response.usage().prompt_tokens(), 2u);
}

TEST_F(ServiceTest, ChatGoesThroughTheTemplate) {
  Start();
  v1::TokenizeRequest request;
  auto* message = request.mutable_chat()->add_messages();
  message->set_role("user");
  message->set_content("hi");
  grpc::ClientContext context;
  v1::TokenizeResponse response;
  ASSERT_TRUE(generation_->Tokenize(&context, request, &response).ok());
  EXPECT_EQ(response.rendered(), "user:hi\n");
  EXPECT_EQ(response.ids_size(), 8);
  v1::DetokenizeRequest back;
  *back.mutable_ids() = response.ids();
  grpc::ClientContext back_context;
  v1::DetokenizeResponse text;
  ASSERT_TRUE(generation_->Detokenize(&back_context, back, &text).ok());
  EXPECT_EQ(text.text(), "user:hi\n");
}

TEST_F(ServiceTest, FullQueueIsRefusedWithTrailersOnly) {
  FakeEngine::Options options;
  options.max_live = 0;
  Start(options);
  grpc::ClientContext context;
  const StreamResult result = Stream(Request("abc", 1), &context);
  EXPECT_EQ(result.status.error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_EQ(ReasonOf(result.status), "QUEUE_FULL");
  EXPECT_TRUE(HasRetryInfo(result.status));
  EXPECT_TRUE(result.messages.empty());
  // Trailers-Only: what would be headers is not there.
  EXPECT_TRUE(context.GetServerInitialMetadata().empty());
}

TEST_F(ServiceTest, CancelFreesWaitingAndRunning) {
  for (const bool paused : {true, false}) {
    FakeEngine::Options options;
    options.paused = paused;
    Start(options);
    grpc::ClientContext context;
    Thread client("client", [&] { Stream(Request("abc", 100000), &context); });
    while (engine_->live() == 0) absl::SleepFor(absl::Milliseconds(1));
    context.TryCancel();
    client.Join();
    EXPECT_TRUE(BecomesIdle()) << "paused " << paused;
    server_.reset();
  }
}

TEST_F(ServiceTest, DeadlineEndsTheRequest) {
  Start();
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(200));
  const StreamResult result = Stream(Request("abc", 100000), &context);
  EXPECT_EQ(result.status.error_code(), grpc::DEADLINE_EXCEEDED);
  EXPECT_TRUE(BecomesIdle());
}

TEST_F(ServiceTest, ManyCancelsAtRandomMomentsLeaveNothing) {
  FakeEngine::Options options;
  options.step = absl::Microseconds(200);
  options.max_live = 1000;
  Start(options);
  {
    std::vector<Thread> clients;
    for (int c = 0; c < 8; ++c) {
      clients.emplace_back("client", [this, c] {
        Random random(static_cast<uint64_t>(c));
        for (int i = 0; i < 40; ++i) {
          grpc::ClientContext context;
          context.set_deadline(std::chrono::system_clock::now() +
                               std::chrono::microseconds(random.Below(8000)));
          v1::GenerateRequest request = Request("abc", static_cast<uint32_t>(random.Below(20)) + 1);
          if (i % 4 == 0) request.mutable_sampling()->set_num_sequences(2);
          const StreamResult result = Stream(request, &context);
          EXPECT_EQ(result.finished[0], result.status.ok() ? 1 : result.finished[0]);
        }
      });
    }
  }
  EXPECT_TRUE(BecomesIdle());
}

TEST_F(ServiceTest, SlowReaderIsEnded) {
  FakeEngine::Options options;
  options.step = absl::Microseconds(100);
  options.tokens_a_step = 64;
  Start(options);
  grpc::ClientContext context;
  v1::GenerateRequest request = Request(std::string(64, 'x'), 0);
  request.mutable_stop()->clear_max_tokens();
  request.mutable_output()->set_token_ids(true);
  auto reader = generation_->Generate(&context, request);
  v1::GenerateResponse message;
  ASSERT_TRUE(reader->Read(&message));
  // Reads no more: flow control stops the server's writes, and then the server stops.
  EXPECT_TRUE(BecomesIdle());
  context.TryCancel();
  reader->Finish();
}

TEST_F(ServiceTest, DuplicateIdIsRefused) {
  FakeEngine::Options options;
  options.paused = true;
  Start(options);
  v1::GenerateRequest request = Request("abc", 3);
  request.set_request_id("same");
  StreamResult first;
  Thread client("client", [&] { first = Stream(request); });
  while (engine_->live() == 0) absl::SleepFor(absl::Milliseconds(1));
  const StreamResult second = Stream(request);
  EXPECT_EQ(second.status.error_code(), grpc::ALREADY_EXISTS);
  engine_->Resume();
  client.Join();
  EXPECT_TRUE(first.status.ok());
  EXPECT_TRUE(BecomesIdle());
}

TEST_F(ServiceTest, BadRequestsAreNamed) {
  FakeEngine::Options options;
  options.max_context = 100;
  Start(options);
  struct Case {
    grpc::StatusCode code;
    const char* reason;
    std::function<void(v1::GenerateRequest*)> change;
  };
  const Case cases[] = {
      {grpc::NOT_FOUND, "MODEL_NOT_FOUND", [](auto* r) { r->set_model("other"); }},
      {grpc::INVALID_ARGUMENT, "INVALID_PARAMETER", [](auto* r) { r->clear_prompt(); }},
      {grpc::INVALID_ARGUMENT, "INVALID_PARAMETER", [](auto* r) { r->set_text(""); }},
      {grpc::INVALID_ARGUMENT, "INVALID_PARAMETER", [](auto* r) { r->mutable_token_ids(); }},
      {grpc::INVALID_ARGUMENT, "INVALID_PARAMETER",
       [](auto* r) { r->mutable_token_ids()->add_ids(257); }},
      {grpc::INVALID_ARGUMENT, "INVALID_PARAMETER",
       [](auto* r) { r->mutable_token_ids()->add_ids(4294967295u); }},
      {grpc::INVALID_ARGUMENT, "INVALID_PARAMETER", [](auto* r) { r->mutable_chat(); }},
      {grpc::INVALID_ARGUMENT, "INVALID_PARAMETER",
       [](auto* r) { r->mutable_chat()->add_messages()->set_role("king"); }},
      {grpc::INVALID_ARGUMENT, "INVALID_PARAMETER",
       [](auto* r) {
         r->mutable_chat()->add_messages()->set_role("user");
         r->mutable_chat()->set_tools_json("{");
       }},
      {grpc::INVALID_ARGUMENT, "INVALID_PARAMETER",
       [](auto* r) {
         r->mutable_chat()->add_messages()->set_role("assistant");
         r->mutable_chat()->mutable_messages(0)->set_tool_calls_json("{}");
       }},
      {grpc::INVALID_ARGUMENT, "INVALID_PARAMETER", [](auto* r) { r->set_request_id("a\nb"); }},
      {grpc::INVALID_ARGUMENT, "INVALID_PARAMETER",
       [](auto* r) { r->set_request_id(std::string(129, 'a')); }},
      {grpc::INVALID_ARGUMENT, "INVALID_PARAMETER",
       [](auto* r) { r->mutable_sampling()->set_num_sequences(0); }},
      {grpc::INVALID_ARGUMENT, "INVALID_PARAMETER",
       [](auto* r) { r->mutable_sampling()->set_num_sequences(17); }},
      {grpc::INVALID_ARGUMENT, "INVALID_PARAMETER",
       [](auto* r) { r->mutable_sampling()->set_temperature(-1); }},
      {grpc::INVALID_ARGUMENT, "INVALID_PARAMETER",
       [](auto* r) { r->set_text(std::string(size_t{9} << 20, 'x')); }},
      {grpc::INVALID_ARGUMENT, "CONTEXT_TOO_LONG",
       [](auto* r) { r->set_text(std::string(100, 'x')); }},
      {grpc::INVALID_ARGUMENT, "CONTEXT_TOO_LONG",
       [](auto* r) { r->mutable_stop()->set_max_tokens(98); }},
      // gRPC's own limit: no reason of ours.
      {grpc::RESOURCE_EXHAUSTED, "",
       [](auto* r) { r->set_text(std::string(size_t{17} << 20, 'x')); }},
  };
  for (size_t i = 0; i < std::size(cases); ++i) {
    v1::GenerateRequest request = Request("abc", 3);
    cases[i].change(&request);
    const StreamResult result = Stream(request);
    EXPECT_EQ(result.status.error_code(), cases[i].code)
        << i << ": " << result.status.error_message();
    EXPECT_EQ(ReasonOf(result.status), cases[i].reason) << i;
    EXPECT_TRUE(result.messages.empty());
  }
  EXPECT_TRUE(BecomesIdle());
  EXPECT_TRUE(Stream(Request("abc", 97)).status.ok()) << "the limit itself fits";
}

TEST_F(ServiceTest, LoadingIsUnavailableAndNotServing) {
  Start({}, /*load=*/false);
  const StreamResult result = Stream(Request("abc", 3));
  EXPECT_EQ(result.status.error_code(), grpc::UNAVAILABLE);
  EXPECT_EQ(ReasonOf(result.status), "MODEL_LOADING");
  grpc::ClientContext context;
  v1::GetModelResponse model;
  ASSERT_TRUE(models_->GetModel(&context, {}, &model).ok());
  EXPECT_EQ(model.model().state(), v1::Model::STATE_LOADING);
  ASSERT_TRUE(server_->Load().ok());
  EXPECT_TRUE(Stream(Request("abc", 3)).status.ok());
}

TEST_F(ServiceTest, HealthFollowsTheModelAndTheHeartbeat) {
  const char* services[] = {"", "transmla.v1.GenerationService", "transmla.v1.ModelService",
                            "google.longrunning.Operations"};
  Start({}, /*load=*/false);
  for (const char* service : services) EXPECT_EQ(HealthOf(service), 2) << service << " loads";
  ASSERT_TRUE(server_->Load().ok());
  for (const char* service : services) EXPECT_EQ(HealthOf(service), 1) << service;
  const auto becomes = [&](int status) {
    for (int i = 0; i < 1000 && HealthOf("") != status; ++i) {
      absl::SleepFor(absl::Milliseconds(10));
    }
    return HealthOf("") == status && HealthOf(services[1]) == status;
  };
  engine_->SetHeartbeatAge(absl::Seconds(11));
  EXPECT_TRUE(becomes(2)) << "a silent engine does not serve";
  engine_->SetHeartbeatAge(absl::ZeroDuration());
  EXPECT_TRUE(becomes(1)) << "it came back";
  engine_->SetFailed();
  EXPECT_TRUE(becomes(2)) << "a dead engine does not serve";
}

TEST_F(ServiceTest, DrainLetsStreamsFinishAndRefusesNewOnes) {
  FakeEngine::Options options;
  options.paused = true;
  Start(options);
  StreamResult running;
  Thread client("client", [&] { running = Stream(Request("abc", 50)); });
  while (engine_->live() == 0) absl::SleepFor(absl::Milliseconds(1));
  Thread drain("drain", [&] { server_->Drain(); });
  StreamResult refused;
  for (int i = 0; i < 1000; ++i) {
    grpc::ClientContext context;
    // One that comes before draining begins is taken, and waits as the engine does.
    context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(1)));
    refused = Stream(Request("abc", 1), &context);
    if (refused.status.error_code() == grpc::UNAVAILABLE) break;
    absl::SleepFor(absl::Milliseconds(5));
  }
  EXPECT_EQ(ReasonOf(refused.status), "DRAINING");
  engine_->Resume();
  client.Join();
  drain.Join();
  EXPECT_TRUE(running.status.ok()) << running.status.error_message();
  EXPECT_EQ(running.texts[0].size(), 50u);
}

TEST_F(ServiceTest, AFailedEngineEndsTheServer) {
  Start();
  engine_->SetFailed();
  EXPECT_TRUE(absl::IsInternal(server_->Wait()));
}

TEST_F(ServiceTest, UnknownOperationIsNotFound) {
  Start();
  auto operations = google::longrunning::Operations::NewStub(channel_);
  grpc::ClientContext context;
  google::longrunning::GetOperationRequest request;
  request.set_name("operations/convert-1");
  google::longrunning::Operation operation;
  const grpc::Status status = operations->GetOperation(&context, request, &operation);
  EXPECT_EQ(ReasonOf(status), "OPERATION_NOT_FOUND");
}

}  // namespace
}  // namespace transmla
