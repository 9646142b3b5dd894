#include "server/model_loader.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"

#include "engine/base/error_reason.h"
#include "engine/base/status.h"
#include "server/config.h"
#include "server/confined_path.h"
#include "server/limits.h"
#include "server/logging.h"
#include "server/translate.h"

namespace transmla {
namespace {

using google::longrunning::Operation;

constexpr absl::Duration kPoll = absl::Milliseconds(20);

template <typename Message>
google::protobuf::Any Pack(const Message& message) {
  google::protobuf::Any any;
  any.PackFrom(message);
  return any;
}

}  // namespace

ModelLoader::ModelLoader(Options options, ModelRegistry* registry, OperationStore* store)
    : options_(std::move(options)),
      registry_(registry),
      store_(store),
      pool_(std::make_unique<WorkerPool>("load", kModelThreads, kQueuedModelCalls)) {}

ModelLoader::~ModelLoader() { Shutdown(); }

absl::Status ModelLoader::CheckName(absl::string_view field, const std::string& name) const {
  RETURN_IF_ERROR(CheckNewModelName(field, name));
  return registry_->CheckFree(name);
}

absl::Status ModelLoader::QueueFull() const {
  if (stop_) {
    return WithReason(absl::UnavailableError("the server is shutting down; use another one"),
                      reason::kDraining);
  }
  if (pending_ < kQueuedModelCalls) return absl::OkStatus();
  return WithReason(
      absl::ResourceExhaustedError(absl::StrCat(
          kQueuedModelCalls, " models are being loaded or unloaded already; try again later")),
      reason::kQueueFull);
}

absl::StatusOr<EngineOptions> ModelLoader::ToEngineOptions(
    const v1::LoadModelRequest& request) const {
  EngineOptions engine = options_.engine;
  ASSIGN_OR_RETURN(engine.model_path, ConfinePath(options_.root, request.path(), "path"));
  engine.model_name = request.name().empty() ? ModelNameOf(engine.model_path) : request.name();
  if (request.has_cache_memory_bytes()) {
    const uint64_t bytes = request.cache_memory_bytes();
    if (bytes < 1 || bytes > std::numeric_limits<int64_t>::max()) {
      return InvalidField("cache_memory_bytes",
                          absl::StrCat("is ", bytes, "; it must be from 1 to ",
                                       std::numeric_limits<int64_t>::max()));
    }
    engine.cache_memory_bytes = static_cast<int64_t>(bytes);
  }
  if (!request.cache_dtype().empty()) {
    const std::optional<DType> dtype = ParseCacheDType(request.cache_dtype());
    if (!dtype) {
      return InvalidField("cache_dtype", absl::StrCat("is \"", request.cache_dtype(),
                                                      "\"; it must be ", kCacheDTypeChoice));
    }
    engine.cache_dtype = *dtype;
  }
  if (request.has_max_context_tokens()) {
    if (request.max_context_tokens() > kMaxContextTokens) {
      return InvalidField("max_context_tokens", absl::StrCat("is ", request.max_context_tokens(),
                                                             "; at most ", kMaxContextTokens));
    }
    engine.max_context_tokens = static_cast<int>(request.max_context_tokens());
  }
  return engine;
}

absl::StatusOr<int64_t> ModelLoader::PlanMemory(EngineOptions* engine) const {
  ASSIGN_OR_RETURN(const ModelInspection inspection, options_.inspect(engine->model_path));
  const int64_t weights = inspection.weight_bytes;
  // Another device counts its own memory, and says so when it is asked for more.
  if (engine->device != "cpu") return weights + engine->cache_memory_bytes;
  const MemoryStats memory = options_.read_memory();
  int64_t taken = 0;
  for (const auto& model : registry_->All()) taken += model->memory_bytes();
  const int64_t free = std::min(memory.available_bytes, memory.total_bytes - taken);
  if (engine->cache_memory_bytes == 0) {
    // One page at least, so that the message below has a number.
    const int64_t page = inspection.spec.CacheLayout(engine->cache_dtype).BytesPerPage();
    engine->cache_memory_bytes = std::max(page, (free - weights) / 4);
  }
  const int64_t cache = engine->cache_memory_bytes;
  // Not their sum, which may overflow.
  if (cache <= free - weights) return weights + cache;
  return WithReason(
      absl::ResourceExhaustedError(absl::StrCat(
          "model \"", engine->model_name, "\" needs ", weights, " bytes for its weights and ",
          cache, " for its cache, but ", std::max<int64_t>(free, 0),
          " are free; unload a model or set a smaller cache_memory_bytes")),
      reason::kNoMemory);
}

absl::StatusOr<Operation> ModelLoader::Load(const v1::LoadModelRequest& request) {
  if (options_.root.empty()) {
    return WithReason(absl::FailedPreconditionError(
                          "loading is off; start the server with --conversion-root=FOLDER, below "
                          "which models are read"),
                      reason::kLoadingDisabled);
  }
  absl::MutexLock lock(&mutex_);
  RETURN_IF_ERROR(QueueFull());
  auto job = std::make_shared<Job>();
  ASSIGN_OR_RETURN(job->engine, ToEngineOptions(request));
  const std::string& name = job->engine.model_name;
  RETURN_IF_ERROR(CheckName("name", name));
  ASSIGN_OR_RETURN(const int64_t bytes, PlanMemory(&job->engine));
  job->model = std::make_shared<ServedModel>(name, options_.vllm_metrics, bytes);
  RETURN_IF_ERROR(registry_->Add(job->model));

  job->load.set_name(name);
  job->load.set_path(request.path());
  SetTime(options_.clock->Now(), job->load.mutable_start_time());
  const Operation operation = store_->Create("load", job->load);
  job->operation = operation.name();
  ++pending_;
  pool_->TryRun([this, job] { RunLoad(*job); });  // has room: QueueFull
  return operation;
}

absl::StatusOr<Operation> ModelLoader::Unload(const v1::UnloadModelRequest& request) {
  if (request.name().empty()) return InvalidField("name", "is empty; name the model to unload");
  absl::MutexLock lock(&mutex_);
  RETURN_IF_ERROR(QueueFull());
  auto job = std::make_shared<Job>();
  ASSIGN_OR_RETURN(job->model, registry_->Find(request.name()));
  if (job->model.get() == &registry_->first()) {
    return WithReason(absl::FailedPreconditionError(absl::StrCat(
                          "\"", request.name(),
                          "\" is the model that the server was started with; it ends with the "
                          "server")),
                      reason::kFirstModel);
  }
  Engine* const engine = job->model->engine();
  if (engine == nullptr) {
    return WithReason(
        absl::FailedPreconditionError(absl::StrCat(
            "model \"", request.name(), "\" is still loading; cancel its operation instead")),
        reason::kModelLoading);
  }
  if (!job->model->StartDraining(ServedModel::DrainCause::kUnload)) {
    return WithReason(absl::AbortedError(
                          absl::StrCat("model \"", request.name(), "\" is being unloaded already")),
                      reason::kOperationInProgress);
  }
  engine->StartDraining();
  job->unload.set_name(request.name());
  SetTime(options_.clock->Now(), job->unload.mutable_start_time());
  const Operation operation = store_->Create("unload", job->unload);
  job->operation = operation.name();
  ++pending_;
  pool_->TryRun([this, job] { RunUnload(*job); });  // has room: QueueFull
  return operation;
}

absl::StatusOr<std::unique_ptr<Engine>> ModelLoader::MakeEngine(const Job& job) const {
  const auto given_up = [&]() -> absl::Status {
    if (stop_) {
      return WithReason(absl::UnavailableError("the server is shutting down"), reason::kDraining);
    }
    if (store_->IsCancelRequested(job.operation)) return absl::CancelledError("cancelled");
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(given_up());
  ASSIGN_OR_RETURN(std::unique_ptr<Engine> engine,
                   options_.make_engine(job.engine, options_.clock, &job.model->metrics()));
  RETURN_IF_ERROR(given_up());
  return engine;
}

void ModelLoader::RunLoad(Job& job) {
  absl::StatusOr<std::unique_ptr<Engine>> engine = MakeEngine(job);
  LogInfo(absl::StrCat("load of model ", job.load.name(), " from ", job.load.path(), ": ",
                       engine.status().ToString()));
  if (engine.ok()) {
    job.model->SetEngine(*std::move(engine));
    v1::LoadModelResponse response;
    *response.mutable_model() = ToProto(*job.model);
    store_->Finish(job.operation, job.load, Pack(response));
  } else {
    registry_->Remove(job.load.name());
    store_->Finish(job.operation, job.load,
                   WithDefaultReason(engine.status(), absl::StatusCode::kResourceExhausted,
                                     reason::kNoMemory));
  }
  job.model.reset();
  --pending_;
}

void ModelLoader::RunUnload(Job& job) {
  WaitWhileUsed(job, /*others=*/1, options_.clock->Now() + options_.grace_period,
                /*stoppable=*/true);
  job.model->engine()->Stop();
  registry_->Remove(job.unload.name());
  // Clients that have yet to read the end; whoever is last gives the memory back.
  WaitWhileUsed(job, /*others=*/0, options_.clock->Now() + kLastMessages, /*stoppable=*/false);
  job.model.reset();
  LogInfo(absl::StrCat("model ", job.unload.name(), " is unloaded"));
  store_->Finish(job.operation, job.unload, Pack(v1::UnloadModelResponse()));
  --pending_;
}

void ModelLoader::WaitWhileUsed(const Job& job, int64_t others, absl::Time until,
                                bool stoppable) const {
  while (job.model.use_count() > others + 1 && options_.clock->Now() < until &&
         !(stoppable && stop_)) {
    options_.clock->Sleep(kPoll);
  }
}

void ModelLoader::Shutdown() {
  stop_ = true;
  std::unique_ptr<WorkerPool> pool;
  {
    absl::MutexLock lock(&mutex_);
    pool = std::move(pool_);
  }
  pool.reset();  // runs what is queued, then joins
}

}  // namespace transmla
