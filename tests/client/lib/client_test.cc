// The client library against the whole server with an engine whose pace the test sets.
#include "client/lib/client.h"

#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include <gtest/gtest.h>

#include "server/server.h"
#include "tests/server/fake_engine.h"

namespace transmla {
namespace {

using testing::FakeEngine;

class ClientTest : public ::testing::Test {
 protected:
  void Start(FakeEngine::Options options = {}) {
    ServerConfig config;
    config.engine.model_name = "fake";
    config.listen = "127.0.0.1:0";
    config.metrics_listen = "";
    ServerParts parts;
    parts.make_engine = [this, options](const EngineOptions&, Clock*, StatsSink* stats) {
      auto engine = std::make_unique<FakeEngine>(options, stats);
      engine_ = engine.get();
      return absl::StatusOr<std::unique_ptr<Engine>>(std::move(engine));
    };
    auto server = Server::Start(config, parts);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    ASSERT_TRUE(server_->Load().ok());
    auto client = Client::Connect({.server = server_->address()});
    ASSERT_TRUE(client.ok()) << client.status();
    client_ = *std::move(client);
  }

  std::unique_ptr<Server> server_;
  FakeEngine* engine_ = nullptr;
  std::unique_ptr<Client> client_;
};

TEST_F(ClientTest, StreamsACompletion) {
  Start();
  std::string streamed;
  uint32_t tokens = 0;
  const auto result = client_->Generate({.text = "abc", .seed = 7, .max_tokens = 8},
                                        [&](const CompletionDelta& delta) {
                                          streamed += delta.text;
                                          EXPECT_GT(delta.completion_tokens, tokens);
                                          tokens = delta.completion_tokens;
                                          return true;
                                        });
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->text, "abcabcab");
  EXPECT_EQ(streamed, result->text);
  EXPECT_EQ(result->finish_reason, "length");
  EXPECT_EQ(result->seed, 7u);
  EXPECT_EQ(result->prompt_tokens, 3u);
  EXPECT_EQ(result->completion_tokens, 8u);
  EXPECT_FALSE(result->request_id.empty());
  EXPECT_GT(result->time_to_first_token, absl::ZeroDuration());
  EXPECT_GE(result->total, result->time_to_first_token);
}

TEST_F(ClientTest, PromptsAreTextIdsOrMessages) {
  Start();
  const auto text = [&](const CompletionRequest& request) {
    return client_->Generate(request, nullptr)->text;
  };
  EXPECT_EQ(text({.token_ids = {120, 121}, .max_tokens = 4}), "xyxy");
  EXPECT_EQ(text({.messages = {{.role = "user", .content = "q"}}, .max_tokens = 7}), "user:q\n");
}

TEST_F(ClientTest, TheCallerStopsAStream) {
  Start();
  int deltas = 0;
  const auto result = client_->Generate({.text = "abc", .max_tokens = 1000000},
                                        [&](const CompletionDelta&) { return ++deltas < 3; });
  EXPECT_TRUE(absl::IsCancelled(result.status())) << result.status();
  EXPECT_EQ(deltas, 3);
  EXPECT_TRUE(engine_->WaitUntilIdle(absl::Seconds(20)));
}

TEST_F(ClientTest, ATimeoutEndsAStream) {
  Start();
  const auto result = client_->Generate(
      {.text = "abc", .max_tokens = 1000000, .timeout = absl::Milliseconds(100)}, nullptr);
  EXPECT_TRUE(absl::IsDeadlineExceeded(result.status())) << result.status();
}

TEST_F(ClientTest, ErrorsCarryTheirReason) {
  Start({.max_live = 0});
  const auto result = client_->Generate({.text = "abc"}, nullptr);
  EXPECT_TRUE(absl::IsResourceExhausted(result.status()));
  EXPECT_TRUE(absl::EndsWith(result.status().message(), "[QUEUE_FULL]; retry in 1s"))
      << result.status();
}

TEST_F(ClientTest, ListsModelsAndTokenizes) {
  Start();
  const auto models = client_->ListModels();
  ASSERT_TRUE(models.ok());
  ASSERT_EQ(models->size(), 1u);
  EXPECT_EQ((*models)[0].name, "fake");
  EXPECT_EQ((*models)[0].state, "ready");
  EXPECT_EQ((*models)[0].vocab_size, 257u);
  EXPECT_EQ(*client_->Tokenize("ab"), (std::vector<uint32_t>{97, 98}));
}

TEST_F(ClientTest, LoadingThatIsOffSaysSo) {
  Start();
  const absl::Status status = client_->LoadModel({.path = "a"}).status();
  EXPECT_TRUE(absl::StrContains(status.message(), "[LOADING_DISABLED]")) << status;
  EXPECT_TRUE(absl::IsFailedPrecondition(client_->UnloadModel("fake")));
  EXPECT_TRUE(absl::IsNotFound(client_->UnloadModel("other")));
}

TEST_F(ClientTest, ConversionsThatAreOffSaySo) {
  Start();
  const absl::Status status =
      client_->StartConversion({.source = "a", .destination = "b"}).status();
  EXPECT_TRUE(absl::StrContains(status.message(), "[CONVERSION_DISABLED]")) << status;
  EXPECT_TRUE(absl::IsNotFound(client_->CancelConversion("operations/x-1")));
  EXPECT_TRUE(
      absl::IsNotFound(client_->WaitConversion("operations/x-1", absl::Milliseconds(10)).status()));
}

TEST(ConnectTest, NamesTheAddressThatNobodyAnswers) {
  const absl::Status status =
      Client::Connect({.server = "127.0.0.1:1", .connect_timeout = absl::Milliseconds(200)})
          .status();
  EXPECT_TRUE(absl::IsUnavailable(status));
  EXPECT_TRUE(absl::StrContains(status.message(), "127.0.0.1:1")) << status;
}

TEST(ConnectTest, BrokenCertificateFilesAreInvalid) {
  ClientOptions options{.tls = true, .tls_ca_file = "does-not-exist.pem"};
  EXPECT_TRUE(absl::IsInvalidArgument(Client::Connect(options).status()));
  const std::string path = ::testing::TempDir() + "/no.pem";
  std::ofstream(path) << "hello";
  options.tls_ca_file = path;
  EXPECT_TRUE(absl::IsInvalidArgument(Client::Connect(options).status()));
  options = {.tls = true, .tls_cert_file = path};
  EXPECT_TRUE(absl::IsInvalidArgument(Client::Connect(options).status())) << "no key";
}

}  // namespace
}  // namespace transmla
