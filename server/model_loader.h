// ModelLoader: LoadModel and UnloadModel: models come and go while the server runs.
//
// Paths are below one root, as those of conversions (confined_path.h). A model is in the registry
// from the moment its load is accepted, so that its name and its memory are taken; requests are
// accepted when its engine is there.
#ifndef TRANSMLA_SERVER_MODEL_LOADER_H_
#define TRANSMLA_SERVER_MODEL_LOADER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "google/longrunning/operations.pb.h"
#include "transmla/v1/model.pb.h"

#include "engine/base/clock.h"
#include "engine/engine.h"
#include "engine/inspect.h"
#include "server/model_registry.h"
#include "server/operations.h"
#include "server/process_stats.h"
#include "server/served_model.h"
#include "server/worker_pool.h"

namespace transmla {

// Thread-safe. What it logs and finishes goes on until Shutdown returns.
class ModelLoader {
 public:
  struct Options {
    std::string root;      // empty: LoadModel is FailedPrecondition
    EngineOptions engine;  // for what a request leaves out; path and name are the request's
    bool vllm_metrics = true;
    absl::Duration grace_period = absl::Seconds(45);  // of an unloaded model's requests
    Clock* clock = SystemClock();
    std::function<absl::StatusOr<std::unique_ptr<Engine>>(const EngineOptions&, Clock*, StatsSink*)>
        make_engine;
    std::function<absl::StatusOr<ModelInspection>(const std::string&)> inspect;
    std::function<MemoryStats()> read_memory;
  };

  // `registry` and `store` must outlive this.
  ModelLoader(Options options, ModelRegistry* registry, OperationStore* store);
  ~ModelLoader();

  // Begins to load a model. Touches files. FailedPrecondition (no root), InvalidArgument (path,
  // name, options), AlreadyExists (name), ResourceExhausted (memory, with the numbers; too many
  // models or calls), and what is wrong with the model's files.
  absl::StatusOr<google::longrunning::Operation> Load(const v1::LoadModelRequest& request);
  // Makes the model refuse new requests, and begins to end the others. InvalidArgument (no name),
  // NotFound, FailedPrecondition (the first model; one that still loads), Aborted (under way).
  absl::StatusOr<google::longrunning::Operation> Unload(const v1::UnloadModelRequest& request);

  // Whether a model of this name could be loaded now, as far as its name says.
  absl::Status CheckName(absl::string_view field, const std::string& name) const;

  // Cuts unloading models' requests off, drops what is being loaded, and returns when all of it is
  // done: a load that is under way is waited for. Idempotent.
  void Shutdown();

 private:
  struct Job {
    std::string operation;
    std::shared_ptr<ServedModel> model;
    EngineOptions engine;
    v1::LoadModelMetadata load;
    v1::UnloadModelMetadata unload;
  };

  absl::StatusOr<EngineOptions> ToEngineOptions(const v1::LoadModelRequest& request) const;
  // Sets the cache's memory where nobody did; returns what weights and cache take together.
  absl::StatusOr<int64_t> PlanMemory(EngineOptions* engine) const;
  absl::Status QueueFull() const;
  void RunLoad(Job& job);
  void RunUnload(Job& job);
  absl::StatusOr<std::unique_ptr<Engine>> MakeEngine(const Job& job) const;
  // Until nobody but the registry's `others` and `job` holds the model, `until`, or, if
  // `stoppable`, Shutdown.
  void WaitWhileUsed(const Job& job, int64_t others, absl::Time until, bool stoppable) const;

  const Options options_;
  ModelRegistry* const registry_;
  OperationStore* const store_;
  std::atomic<bool> stop_{false};
  absl::Mutex
      mutex_;  // one Load or Unload at a time: what memory is free and what is taken go together
  std::atomic<size_t> pending_{0};    // queued and running
  std::unique_ptr<WorkerPool> pool_;  // last: its tasks use the above
};

}  // namespace transmla

#endif  // TRANSMLA_SERVER_MODEL_LOADER_H_
