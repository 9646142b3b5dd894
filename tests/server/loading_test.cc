// Models that come and go while the server runs, over a real gRPC connection, with engines whose
// pace the test sets.
#include <atomic>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "google/longrunning/operations.grpc.pb.h"
#include "google/rpc/error_details.pb.h"
#include "transmla/v1/generation.grpc.pb.h"
#include "transmla/v1/model.grpc.pb.h"
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include "engine/base/status.h"
#include "engine/base/thread.h"
#include "server/limits.h"
#include "server/server.h"
#include "tests/server/fake_engine.h"

namespace transmla {
namespace {

namespace fs = std::filesystem;
using google::longrunning::Operation;
using testing::FakeEngine;

constexpr int64_t kWeightBytes = 100;

std::string ReasonOf(const google::rpc::Status& details) {
  google::rpc::ErrorInfo info;
  return !details.details().empty() && details.details(0).UnpackTo(&info) ? info.reason() : "";
}
std::string ReasonOf(const grpc::Status& status) {
  google::rpc::Status details;
  details.ParseFromString(status.error_details());
  return ReasonOf(details);
}

// How many engines there are.
class CountedEngine : public FakeEngine {
 public:
  CountedEngine(const FakeEngine::Options& options, StatsSink* stats, std::atomic<int>* count)
      : FakeEngine(options, stats), count_(count) {
    ++*count_;
  }
  ~CountedEngine() override { --*count_; }

 private:
  std::atomic<int>* const count_;
};

class LoadingTest : public ::testing::Test {
 protected:
  LoadingTest() : root_(fs::path(::testing::TempDir()) / "loading_root") {
    fs::remove_all(root_);
    fs::create_directories(root_ / "models" / "a");
    fs::create_directories(root_ / "models" / "b");
  }

  void Start(bool with_root = true) {
    ServerConfig config;
    config.engine.model_name = "first";
    config.listen = "127.0.0.1:0";
    config.metrics_listen = "";
    config.grace_period = grace_period_;
    if (with_root) config.conversion_root = root_.string();
    ServerParts parts;
    parts.make_engine = [this](const EngineOptions& options, Clock*,
                               StatsSink* stats) -> absl::StatusOr<std::unique_ptr<Engine>> {
      if (before_load_) RETURN_IF_ERROR(before_load_(options));
      FakeEngine::Options fake = fake_;
      fake.name = options.model_name;
      auto engine = std::make_unique<CountedEngine>(fake, stats, &engines_);
      absl::MutexLock lock(&mutex_);
      cache_memory_[options.model_name] = options.cache_memory_bytes;
      live_[options.model_name] = engine.get();
      return engine;
    };
    parts.inspect = [](const std::string& path) -> absl::StatusOr<ModelInspection> {
      if (!fs::exists(path)) return absl::NotFoundError("no such file or folder");
      ModelInspection inspection{.path = path, .weight_bytes = kWeightBytes};
      return inspection;
    };
    parts.read_memory = [this] { return memory_; };
    auto server = Server::Start(config, parts);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    ASSERT_TRUE(server_->Load().ok());
    channel_ = grpc::CreateChannel(absl::StrCat("127.0.0.1:", server_->port()),
                                   grpc::InsecureChannelCredentials());
    generation_ = v1::GenerationService::NewStub(channel_);
    models_ = v1::ModelService::NewStub(channel_);
    operations_ = google::longrunning::Operations::NewStub(channel_);
  }

  grpc::Status Load(const std::string& path, const std::string& name, Operation* operation,
                    int64_t cache_bytes = 0) {
    grpc::ClientContext context;
    v1::LoadModelRequest request;
    request.set_path(path);
    request.set_name(name);
    if (cache_bytes > 0) request.set_cache_memory_bytes(cache_bytes);
    return models_->LoadModel(&context, request, operation);
  }
  grpc::Status Unload(const std::string& name, Operation* operation) {
    grpc::ClientContext context;
    v1::UnloadModelRequest request;
    request.set_name(name);
    return models_->UnloadModel(&context, request, operation);
  }
  Operation Wait(const std::string& name, int seconds = 20) {
    grpc::ClientContext context;
    google::longrunning::WaitOperationRequest request;
    request.set_name(name);
    request.mutable_timeout()->set_seconds(seconds);
    Operation operation;
    const grpc::Status status = operations_->WaitOperation(&context, request, &operation);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return operation;
  }
  // Loads and waits.
  void MustLoad(const std::string& path, const std::string& name) {
    Operation operation;
    const grpc::Status status = Load(path, name, &operation);
    ASSERT_TRUE(status.ok()) << status.error_message();
    operation = Wait(operation.name());
    ASSERT_TRUE(operation.done());
    ASSERT_FALSE(operation.has_error()) << operation.error().message();
  }
  void MustUnload(const std::string& name) {
    Operation operation;
    const grpc::Status status = Unload(name, &operation);
    ASSERT_TRUE(status.ok()) << status.error_message();
    operation = Wait(operation.name());
    ASSERT_TRUE(operation.done() && !operation.has_error());
  }

  // "name:state" of every model.
  std::vector<std::string> Listed(int page_size = 0) {
    std::vector<std::string> listed;
    v1::ListModelsRequest request;
    request.set_page_size(page_size);
    do {
      grpc::ClientContext context;
      v1::ListModelsResponse response;
      EXPECT_TRUE(models_->ListModels(&context, request, &response).ok());
      for (const v1::Model& model : response.models()) {
        listed.push_back(absl::StrCat(model.name(), ":", v1::Model::State_Name(model.state())));
      }
      request.set_page_token(response.next_page_token());
    } while (!request.page_token().empty());
    return listed;
  }

  // The text, or the error's reason.
  std::string Generate(const std::string& model, uint32_t max_tokens) {
    grpc::ClientContext context;
    v1::GenerateRequest request;
    request.set_model(model);
    request.set_text("abc");
    request.mutable_stop()->set_max_tokens(max_tokens);
    auto reader = generation_->Generate(&context, request);
    std::string text;
    for (v1::GenerateResponse message; reader->Read(&message);) {
      if (message.has_chunk()) text += message.chunk().text();
    }
    const grpc::Status status = reader->Finish();
    return status.ok() ? text : ReasonOf(status);
  }

  // The live engine of a model.
  FakeEngine* EngineOf(const std::string& name) {
    absl::MutexLock lock(&mutex_);
    return live_[name];
  }

  const fs::path root_;
  absl::Duration grace_period_ = absl::Seconds(20);
  FakeEngine::Options fake_;
  MemoryStats memory_{.total_bytes = 1000, .available_bytes = 1000};
  std::function<absl::Status(const EngineOptions&)> before_load_;
  std::atomic<int> engines_{0};
  absl::Mutex mutex_;
  std::map<std::string, int64_t> cache_memory_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, FakeEngine*> live_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::GenerationService::Stub> generation_;
  std::unique_ptr<v1::ModelService::Stub> models_;
  std::unique_ptr<google::longrunning::Operations::Stub> operations_;
};

TEST_F(LoadingTest, ALoadedModelIsServedBesideTheFirst) {
  Start();
  Operation operation;
  ASSERT_TRUE(Load("models/a", "", &operation).ok());
  operation = Wait(operation.name());
  v1::LoadModelResponse response;
  ASSERT_TRUE(operation.response().UnpackTo(&response)) << operation.error().message();
  EXPECT_EQ(response.model().name(), "a") << "named after its folder";
  EXPECT_EQ(response.model().state(), v1::Model::STATE_READY);
  v1::LoadModelMetadata metadata;
  ASSERT_TRUE(operation.metadata().UnpackTo(&metadata));
  EXPECT_EQ(metadata.path(), "models/a");
  EXPECT_EQ(Generate("a", 4), "abca");
  EXPECT_EQ(Generate("first", 4), "abca");
  EXPECT_EQ(Generate("", 4), "abca") << "the first one";
  EXPECT_EQ(Generate("z", 4), "MODEL_NOT_FOUND");

  MustLoad("models/b", "0");
  const std::vector<std::string> all = {"first:STATE_READY", "0:STATE_READY", "a:STATE_READY"};
  for (const int page_size : {0, 1, 2, 3, 100}) EXPECT_EQ(Listed(page_size), all) << page_size;
  grpc::ClientContext context;
  v1::GetModelRequest get;
  get.set_name("a");
  v1::GetModelResponse got;
  ASSERT_TRUE(models_->GetModel(&context, get, &got).ok());
  EXPECT_EQ(got.model().name(), "a");

  MustUnload("a");
  EXPECT_EQ(engines_, 2) << "its memory is given back by the time that the operation is done";
  EXPECT_EQ(Generate("a", 4), "MODEL_NOT_FOUND");
  EXPECT_EQ(Generate("0", 4), "abca");
}

TEST_F(LoadingTest, ANameIsTakenOnceAndFromTheStart) {
  absl::Notification release;
  before_load_ = [&](const EngineOptions& options) {
    if (options.model_name == "a") release.WaitForNotification();
    return absl::OkStatus();
  };
  Start();
  Operation loading;
  ASSERT_TRUE(Load("models/a", "a", &loading).ok());
  EXPECT_EQ(Listed(), (std::vector<std::string>{"first:STATE_READY", "a:STATE_LOADING"}));
  EXPECT_EQ(Generate("a", 4), "MODEL_LOADING");
  EXPECT_EQ(Generate("", 4), "abca") << "nobody else waits";
  Operation operation;
  grpc::Status status = Load("models/b", "a", &operation);
  EXPECT_EQ(status.error_code(), grpc::ALREADY_EXISTS) << status.error_message();
  EXPECT_EQ(ReasonOf(status), "TARGET_EXISTS");
  EXPECT_EQ(Load("models/b", "first", &operation).error_code(), grpc::ALREADY_EXISTS);
  status = Unload("a", &operation);
  EXPECT_EQ(ReasonOf(status), "MODEL_LOADING") << status.error_message();
  release.Notify();
  EXPECT_FALSE(Wait(loading.name()).has_error());
}

TEST_F(LoadingTest, WhatCannotBeLoadedIsRefusedAtOnce) {
  Start();
  fs::create_directory_symlink("/", root_ / "escape");
  Operation operation;
  for (const char* path : {"", "/etc", "../x", "escape/etc", "models/../../x"}) {
    const grpc::Status status = Load(path, "a", &operation);
    EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT) << path;
    EXPECT_TRUE(absl::StartsWith(status.error_message(), "path ")) << status.error_message();
  }
  EXPECT_EQ(Load("models/nothing", "a", &operation).error_code(), grpc::NOT_FOUND);
  EXPECT_EQ(Load("models/a", "a\nb", &operation).error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(Load("models/a", std::string(129, 'a'), &operation).error_code(),
            grpc::INVALID_ARGUMENT);
  EXPECT_EQ(Unload("", &operation).error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(ReasonOf(Unload("a", &operation)), "MODEL_NOT_FOUND");
  EXPECT_EQ(ReasonOf(Unload("first", &operation)), "FIRST_MODEL");
  EXPECT_EQ(Listed(), std::vector<std::string>{"first:STATE_READY"});
}

TEST_F(LoadingTest, WithoutARootItIsOff) {
  Start(/*with_root=*/false);
  Operation operation;
  EXPECT_EQ(ReasonOf(Load("models/a", "a", &operation)), "LOADING_DISABLED");
}

TEST_F(LoadingTest, MemoryIsCountedBeforeItIsTaken) {
  absl::Notification release;
  before_load_ = [&](const EngineOptions& options) {
    if (options.model_name == "a") release.WaitForNotification();
    return absl::OkStatus();
  };
  Start();
  Operation operation;
  grpc::Status status = Load("models/a", "a", &operation, 901);
  EXPECT_EQ(status.error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_EQ(ReasonOf(status), "NO_MEMORY");
  EXPECT_EQ(status.error_message(),
            "model \"a\" needs 100 bytes for its weights and 901 for its cache, but 1000 are free; "
            "unload a model or set a smaller cache_memory_bytes");
  EXPECT_EQ(Load("models/a", "a", &operation, int64_t{1} << 62).error_code(),
            grpc::RESOURCE_EXHAUSTED)
      << "no overflow";
  Operation loading;
  ASSERT_TRUE(Load("models/a", "a", &loading, 500).ok());
  // What is still being loaded counts: 400 are left.
  EXPECT_EQ(ReasonOf(Load("models/b", "b", &operation, 301)), "NO_MEMORY");
  ASSERT_TRUE(Load("models/b", "b", &operation).ok());
  EXPECT_FALSE(Wait(operation.name()).has_error());
  release.Notify();
  EXPECT_FALSE(Wait(loading.name()).has_error());
  absl::MutexLock lock(&mutex_);
  EXPECT_EQ(cache_memory_["a"], 500);
  EXPECT_EQ(cache_memory_["b"], (400 - kWeightBytes) / 4) << "a quarter of what is left";
}

TEST_F(LoadingTest, WhatTheMachineHasLeftIsALimitToo) {
  memory_.available_bytes = 150;
  Start();
  Operation operation;
  EXPECT_EQ(ReasonOf(Load("models/a", "a", &operation, 51)), "NO_MEMORY");
  EXPECT_TRUE(Load("models/a", "a", &operation, 50).ok());
}

TEST_F(LoadingTest, AFailedLoadLeavesNothing) {
  before_load_ = [](const EngineOptions& options) {
    return options.model_name == "a" ? absl::ResourceExhaustedError("not one page fits")
                                     : absl::OkStatus();
  };
  Start();
  for (int i = 0; i < 3; ++i) {
    Operation operation;
    ASSERT_TRUE(Load("models/a", "a", &operation).ok()) << "its name and memory are free again";
    operation = Wait(operation.name());
    EXPECT_EQ(operation.error().code(), grpc::RESOURCE_EXHAUSTED);
    EXPECT_EQ(ReasonOf(operation.error()), "NO_MEMORY");
  }
  EXPECT_EQ(Listed(), std::vector<std::string>{"first:STATE_READY"});
}

TEST_F(LoadingTest, ACancelledLoadLeavesNothing) {
  absl::Notification loads, release;
  before_load_ = [&](const EngineOptions& options) {
    if (options.model_name == "a") {
      loads.Notify();
      release.WaitForNotification();
    }
    return absl::OkStatus();
  };
  Start();
  Operation operation;
  ASSERT_TRUE(Load("models/a", "a", &operation).ok());
  loads.WaitForNotification();
  grpc::ClientContext context;
  google::longrunning::CancelOperationRequest cancel;
  cancel.set_name(operation.name());
  google::protobuf::Empty empty;
  ASSERT_TRUE(operations_->CancelOperation(&context, cancel, &empty).ok());
  release.Notify();
  EXPECT_EQ(Wait(operation.name()).error().code(), grpc::CANCELLED);
  EXPECT_EQ(Listed(), std::vector<std::string>{"first:STATE_READY"});
  EXPECT_EQ(engines_, 1);
}

TEST_F(LoadingTest, UnloadingLetsStreamsFinishAndRefusesNewOnes) {
  fake_.paused = true;
  Start();
  EngineOf("first")->Resume();
  MustLoad("models/a", "a");
  std::string running;
  Thread client("client", [&] { running = Generate("a", 50); });
  while (EngineOf("a")->live() == 0) absl::SleepFor(absl::Milliseconds(1));
  Operation unload;
  ASSERT_TRUE(Unload("a", &unload).ok());
  EXPECT_EQ(Generate("a", 4), "DRAINING") << "from the answer on";
  EXPECT_EQ(Listed(), (std::vector<std::string>{"first:STATE_READY", "a:STATE_DRAINING"}));
  EXPECT_EQ(Generate("", 4), "abca") << "the first one goes on";
  Operation again;
  EXPECT_EQ(ReasonOf(Unload("a", &again)), "OPERATION_IN_PROGRESS");
  EXPECT_EQ(Load("models/a", "a", &again).error_code(), grpc::ALREADY_EXISTS);
  EXPECT_FALSE(Wait(unload.name(), 1).done());
  EngineOf("a")->Resume();
  client.Join();
  EXPECT_EQ(running.size(), 50u) << running;
  EXPECT_TRUE(Wait(unload.name()).done());
  EXPECT_EQ(engines_, 1);
  fake_.paused = false;
  MustLoad("models/b", "a");
  EXPECT_EQ(Generate("a", 4), "abca") << "another one of that name";
}

TEST_F(LoadingTest, UnloadingEndsWhatOutlivesTheGracePeriod) {
  grace_period_ = absl::Milliseconds(300);
  Start();
  MustLoad("models/a", "a");
  std::string running;
  Thread client("client", [&] { running = Generate("a", 1000000); });
  while (EngineOf("a")->live() == 0) absl::SleepFor(absl::Milliseconds(1));
  MustUnload("a");
  client.Join();
  EXPECT_EQ(running, "DRAINING");
  EXPECT_EQ(engines_, 1);
}

TEST_F(LoadingTest, TheServerEndsWithAllItsModels) {
  Start();
  MustLoad("models/a", "a");
  MustLoad("models/b", "b");
  std::string finished;
  Thread client("client", [&] { finished = Generate("a", 300); });
  while (EngineOf("a")->live() == 0) absl::SleepFor(absl::Milliseconds(1));
  Operation operation;
  ASSERT_TRUE(Unload("a", &operation).ok());
  server_->Drain();
  client.Join();
  EXPECT_EQ(finished.size(), 300u) << "the unloading model's stream too: " << finished;
  server_.reset();
  EXPECT_EQ(engines_, 0);
}

TEST_F(LoadingTest, AnEndWhileAModelIsBeingLoaded) {
  absl::Notification loads, release;
  before_load_ = [&](const EngineOptions& options) {
    if (options.model_name == "a") {
      loads.Notify();
      release.WaitForNotification();
    }
    return absl::OkStatus();
  };
  Start();
  Operation operation;
  ASSERT_TRUE(Load("models/a", "a", &operation).ok());
  loads.WaitForNotification();
  Thread drain("drain", [&] { server_->Drain(); });
  // The load's end is awaited; nothing can hurry it.
  absl::SleepFor(absl::Milliseconds(50));
  release.Notify();
  drain.Join();
  server_.reset();
  EXPECT_EQ(engines_, 0);
}

TEST_F(LoadingTest, ModelsComeAndGoWhileStreamsRun) {
  fake_.step = absl::Microseconds(200);
  fake_.max_live = 1000;
  Start();
  std::atomic<bool> stop{false};
  std::atomic<int> served{0};
  {
    std::vector<Thread> threads;
    for (int c = 0; c < 2; ++c) {
      threads.emplace_back("first", [&] {
        while (!stop) EXPECT_EQ(Generate("first", 20), "abcabcabcabcabcabcab");
      });
    }
    for (const char* name : {"a", "b"}) {
      threads.emplace_back("client", [&, name] {
        while (!stop) {
          const std::string got = Generate(name, 20);
          const bool whole = got == "abcabcabcabcabcabcab";
          EXPECT_TRUE(whole || got == "MODEL_NOT_FOUND" || got == "MODEL_LOADING" ||
                      got == "DRAINING")
              << got;
          if (whole) ++served;
        }
      });
      threads.emplace_back("lists", [&] {
        while (!stop) EXPECT_EQ(Listed(1)[0], "first:STATE_READY");
      });
    }
    for (int i = 0; i < 20; ++i) {
      Operation a, b;
      ASSERT_TRUE(Load("models/a", "a", &a, 10).ok());
      ASSERT_TRUE(Load("models/b", "b", &b, 10).ok());
      EXPECT_FALSE(Wait(a.name()).has_error());
      EXPECT_FALSE(Wait(b.name()).has_error());
      // Each serves at least once.
      const int before = served;
      for (int k = 0; k < 4000 && served == before; ++k) absl::SleepFor(absl::Milliseconds(1));
      ASSERT_TRUE(Unload("a", &a).ok());
      ASSERT_TRUE(Unload("b", &b).ok());
      EXPECT_FALSE(Wait(a.name()).has_error());
      EXPECT_FALSE(Wait(b.name()).has_error());
    }
    stop = true;
  }
  EXPECT_GT(served, 20);
  EXPECT_EQ(engines_, 1) << "nothing is left of forty models";
}

TEST_F(LoadingTest, SoManyModelsAndNoMore) {
  memory_ = {.total_bytes = int64_t{1} << 40, .available_bytes = int64_t{1} << 40};
  Start();
  for (size_t i = 1; i < kMaxModels; ++i) MustLoad("models/a", absl::StrCat("m", i));
  Operation operation;
  const grpc::Status status = Load("models/a", "more", &operation);
  EXPECT_EQ(status.error_code(), grpc::RESOURCE_EXHAUSTED) << status.error_message();
  MustUnload("m3");
  EXPECT_TRUE(Load("models/a", "more", &operation).ok());
}

}  // namespace
}  // namespace transmla
