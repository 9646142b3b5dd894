// Engine: the façade over one served model and over conversions, and the only place that names
// concrete backends.
//
// Create loads the model and starts the engine thread. Requests come in through a bounded queue,
// events go out through EventSink on the engine thread. All methods are thread-safe.
#ifndef TRANSMLA_ENGINE_ENGINE_H_
#define TRANSMLA_ENGINE_ENGINE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "engine/backend/cpu/create.h"
#include "engine/base/clock.h"
#include "engine/convert/pipeline.h"
#include "engine/grammar/constraint_compiler.h"
#include "engine/model/decoder.h"
#include "engine/model/model_spec.h"
#include "engine/serve/fair_share.h"
#include "engine/serve/request.h"
#include "engine/serve/stats.h"
#include "engine/tokenizer/load.h"

namespace transmla {

struct EngineOptions {
  std::string model_path;            // GGUF file or folder
  std::string model_name;            // empty: the checkpoint's own name
  std::string device = "cpu";        // "cpu", "cuda:N"
  int threads = 0;                   // CPU threads; 0: all usable cores
  DType cache_dtype = DType::kBF16;  // F32, F16, BF16 or I8 (kv_store.h)
  int64_t cache_memory_bytes = 0;    // 0: a quarter of the memory left after the weights
  int max_context_tokens = 0;     // of one sequence; 0: the model's, as far as the cache holds it
  int max_step_tokens = 512;      // token budget of a step
  int max_running_requests = 64;  // sequences of a step
  int max_queued_requests = 128;  // admitted and not yet started
  int64_t max_queued_tokens = 1 << 20;  // prompt tokens of those
  bool prefix_cache = true;  // requests that begin alike share the cache pages of that beginning
  // Folder for a file of contents that the prefix cache has no memory for; empty: none.
  std::string spill_folder;
  int64_t spill_bytes = int64_t{4} << 30;  // of that file at most
  // On the CPU, products with quantised weights in 8-bit integers (CpuOptions).
  bool quantised_activations = true;
  bool pin_threads = false;  // as CpuOptions
  // Long prompts of latent models attend in expanded form where their shapes say that it pays
  // (MlaCrossover); pages behind a prompt's last whole block are then not shared. Needs steps of at
  // least a block, 512 tokens.
  bool expanded_prompts = false;
  int draft_tokens = 0;          // guessed a step for requests that do not say; at most 64
  TenantWeights tenant_weights;  // shares of the engine, above 0; tenants without one have 1
};

struct ModelInfo {
  std::string name;
  std::string path;
  ModelSpec spec;
  std::string device;  // as the backend names itself
  int64_t weight_bytes = 0;
  int max_context_tokens = 0;
  DType cache_dtype = DType::kBF16;
  int64_t cache_pages = 0;
  int64_t cache_bytes_per_token = 0;
  int64_t gqa_equivalent_bytes_per_token = 0;
  bool expanded_prompts = false;  // asked for, and it pays
};

// A place in the queue, taken before any work is spent on a request; given back by the destructor,
// or by the engine when the request ends. Movable.
class AdmissionTicket {
 public:
  AdmissionTicket() = default;
  explicit AdmissionTicket(std::function<void()> give_back) : give_back_(std::move(give_back)) {}
  AdmissionTicket(AdmissionTicket&& other) noexcept
      : give_back_(std::exchange(other.give_back_, nullptr)) {}
  AdmissionTicket& operator=(AdmissionTicket&& other) noexcept {
    if (give_back_) give_back_();
    give_back_ = std::exchange(other.give_back_, nullptr);
    return *this;
  }
  ~AdmissionTicket() {
    if (give_back_) give_back_();
  }

 private:
  std::function<void()> give_back_;
};

class Engine {
 public:
  virtual ~Engine() = default;

  virtual const ModelInfo& model() const = 0;
  virtual const Tokenizer& tokenizer() const = 0;
  // Null if the model has no chat template.
  virtual const ChatTemplate* chat_template() const = 0;
  // For what requests allow and ban; its own thread-safety.
  virtual ConstraintCompiler& constraints() = 0;

  // Takes a place in the queue. ResourceExhausted (queue full), Unavailable (draining or failed).
  virtual absl::StatusOr<AdmissionTicket> Reserve() = 0;
  // Queues a request that has a place. The sink gets exactly one terminal event if and only if this
  // returns OK. InvalidArgument (bad parameters, prompt + max_tokens over the context),
  // FailedPrecondition (fits the context but can never fit the cache), ResourceExhausted (prompt
  // tokens of the queue), AlreadyExists (id in use), Unavailable.
  virtual absl::Status Submit(AdmissionTicket ticket, GenerateRequest request,
                              std::shared_ptr<EventSink> sink) = 0;
  // Ends the request at the next step, in any state; unknown and ended ids are ignored. Never
  // blocks.
  virtual void Cancel(const std::string& id) = 0;

  virtual EngineStats stats() const = 0;

  // Stops admission (Unavailable); running and queued requests go on.
  virtual void StartDraining() = 0;
  // True when nothing is queued or running, at the latest after `timeout`.
  virtual bool WaitUntilIdle(absl::Duration timeout) = 0;
  // Ends every request with Unavailable and joins the engine thread. Idempotent; also done by the
  // destructor.
  virtual void Stop() = 0;
};

// Loads the model and starts its engine thread. `clock` and `stats_sink` (may be null) must outlive
// the engine. Errors say what is wrong with the model, the options or the device's memory.
absl::StatusOr<std::unique_ptr<Engine>> CreateEngine(const EngineOptions& options, Clock* clock,
                                                     StatsSink* stats_sink);

// Bounds the threads of what a conversion computes beside its backend (linear algebra), of all
// conversions of this process; by default they use every core. REQUIRES: threads >= 1, and no
// conversion runs.
void LimitConversionThreads(int threads);

// A backend for `device` ("cpu", "cuda:N"); `cpu` is for the CPU alone. Conversions and evaluation
// compute exactly, serving with quantised activations.
absl::StatusOr<std::unique_ptr<Backend>> CreateBackend(const std::string& device,
                                                       const CpuOptions& cpu);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_ENGINE_H_
