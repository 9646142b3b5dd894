#include "engine/engine.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"

#include "engine/backend/cpu/create.h"
#include "engine/backend/cuda/create.h"
#include "engine/base/check.h"
#include "engine/base/check_range.h"
#include "engine/base/checked_math.h"
#include "engine/base/cpu_info.h"
#include "engine/base/status.h"
#include "engine/format/checkpoint.h"
#include "engine/linalg/threads.h"
#include "engine/model/mla_crossover.h"
#include "engine/serve/engine_loop.h"
#include "engine/serve/spill_file.h"
#include "engine/serve/step_runner.h"

namespace transmla {
namespace {

// Bounds of what a caller may ask for; beyond them a number is a mistake, not a wish.
constexpr int kMaxStepTokens = 1 << 16;
constexpr int kMaxRunningRequests = 4096;
constexpr int kMaxQueuedRequests = 1 << 20;

// Logits that a step can give beside one for each sequence: a row of floats as long as the
// vocabulary each.
constexpr int kSpareLogits = 64;

// Positions of a block that attends in expanded form (SchedulerOptions::expanded_block): a step's,
// since each step expands the context anew.
constexpr int kExpandedBlock = 512;
static_assert(kExpandedBlock % kPageTokens == 0);

absl::Status Validate(const EngineOptions& options) {
  constexpr int64_t kAny = std::numeric_limits<int64_t>::max();
  RETURN_IF_ERROR(CheckRange("max_step_tokens", options.max_step_tokens, 1, kMaxStepTokens));
  RETURN_IF_ERROR(
      CheckRange("max_running_requests", options.max_running_requests, 1, kMaxRunningRequests));
  RETURN_IF_ERROR(
      CheckRange("max_queued_requests", options.max_queued_requests, 1, kMaxQueuedRequests));
  RETURN_IF_ERROR(CheckRange("max_queued_tokens", options.max_queued_tokens, 1, kAny));
  RETURN_IF_ERROR(CheckRange("max_context_tokens", options.max_context_tokens, 0, kAny));
  RETURN_IF_ERROR(CheckRange("cache_memory_bytes", options.cache_memory_bytes, 0, kAny));
  RETURN_IF_ERROR(CheckRange("spill_bytes", options.spill_bytes, 0, kAny));
  if (!options.spill_folder.empty() && !options.prefix_cache) {
    return absl::InvalidArgumentError("a spill file needs the prefix cache");
  }
  if (options.expanded_prompts && options.max_step_tokens < kExpandedBlock) {
    return absl::InvalidArgumentError(absl::StrCat("expanded prompts need steps of at least ",
                                                   kExpandedBlock, " tokens, max_step_tokens is ",
                                                   options.max_step_tokens));
  }
  RETURN_IF_ERROR(CheckRange("draft_tokens", options.draft_tokens, 0, kSpareLogits));
  for (const auto& [tenant, weight] : options.tenant_weights) {
    if (weight > 0 && std::isfinite(weight)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("the weight of tenant \"", tenant, "\" is ", weight, "; it must be above 0"));
  }
  if (!IsCacheDType(options.cache_dtype)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "cache_dtype is ", DTypeName(options.cache_dtype), "; it must be ", kCacheDTypeChoice));
  }
  return absl::OkStatus();
}

// Pages for the memory that the options give the cache; without a prefix cache no more than all
// running requests at full length can use.
absl::StatusOr<int> CountPages(const EngineOptions& options, const KvLayout& layout,
                               const Backend& backend, int64_t weight_bytes,
                               int max_context_tokens) {
  const int64_t memory = options.cache_memory_bytes > 0
                             ? options.cache_memory_bytes
                             : std::max<int64_t>(0, backend.info().memory_bytes - weight_bytes) / 4;
  const int64_t fitting = memory / layout.BytesPerPage();
  if (fitting < 1) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "the cache's memory of ", memory, " bytes does not hold one page of ", kPageTokens,
        " tokens, ", layout.BytesPerPage(), " bytes; give it more (cache_memory)"));
  }
  if (options.max_context_tokens > 0 && fitting < CeilDiv(max_context_tokens, kPageTokens)) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the cache's memory of ", memory, " bytes holds ", fitting * kPageTokens,
                     " tokens, fewer than one sequence of max_context_tokens ", max_context_tokens,
                     "; give it more (cache_memory) or lower the context"));
  }
  int64_t pages = std::min<int64_t>(fitting, std::numeric_limits<int>::max() / kPageTokens);
  if (!options.prefix_cache) {
    pages = std::min(
        pages, int64_t{options.max_running_requests} * CeilDiv(max_context_tokens, kPageTokens));
  }
  return static_cast<int>(pages);
}

std::string NameOf(const EngineOptions& options, const ModelSpec& spec) {
  if (!options.model_name.empty()) return options.model_name;
  if (!spec.name.empty()) return spec.name;
  absl::string_view path = options.model_path;
  while (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
  return std::string(path.substr(path.rfind('/') + 1));
}

std::vector<int32_t> EndTokens(const Tokenizer& tokenizer, const ModelSpec& spec) {
  std::vector<int32_t> tokens(tokenizer.eos().begin(), tokenizer.eos().end());
  tokens.insert(tokens.end(), spec.eos_token_ids.begin(), spec.eos_token_ids.end());
  std::sort(tokens.begin(), tokens.end());
  tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
  return tokens;
}

std::vector<std::string> TokenBytes(const Tokenizer& tokenizer) {
  std::vector<std::string> bytes;
  for (int token = 0; token < tokenizer.vocab_size(); ++token) {
    bytes.push_back(tokenizer.TokenBytes(token));
  }
  return bytes;
}

// Everything that one served model owns, in the order in which it must be made.
class LoadedEngine : public Engine {
 public:
  absl::Status Load(const EngineOptions& options, Clock* clock, StatsSink* stats_sink);

  const ModelInfo& model() const override { return info_; }
  const Tokenizer& tokenizer() const override { return *tokenizer_.tokenizer; }
  const ChatTemplate* chat_template() const override { return tokenizer_.chat_template.get(); }
  ConstraintCompiler& constraints() override { return *constraints_; }

  absl::StatusOr<AdmissionTicket> Reserve() override {
    ASSIGN_OR_RETURN(std::function<void()> give_back, loop_->Reserve());
    return AdmissionTicket(std::move(give_back));
  }
  absl::Status Submit(AdmissionTicket ticket, GenerateRequest request,
                      std::shared_ptr<EventSink> sink) override {
    // A function can be copied, a ticket cannot; the shared one is given back once.
    auto held = std::make_shared<AdmissionTicket>(std::move(ticket));
    return loop_->Submit([held] { *held = AdmissionTicket(); }, std::move(request),
                         std::move(sink));
  }
  void Cancel(const std::string& id) override { loop_->Cancel(id); }
  EngineStats stats() const override { return loop_->stats(); }
  void StartDraining() override { loop_->StartDraining(); }
  bool WaitUntilIdle(absl::Duration timeout) override { return loop_->WaitUntilIdle(timeout); }
  void Stop() override { loop_->Stop(); }

 private:
  absl::Status LoadModel(const EngineOptions& options);
  EngineLoopOptions LoopOptions(const EngineOptions& options) const;

  LoadedTokenizer tokenizer_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Decoder> decoder_;
  std::unique_ptr<KvStore> store_;
  std::unique_ptr<SpillFile> spill_;
  std::optional<DecoderRunner> runner_;
  ModelInfo info_;
  std::optional<ConstraintCompiler> constraints_;
  std::optional<EngineLoop> loop_;
};

absl::Status LoadedEngine::Load(const EngineOptions& options, Clock* clock, StatsSink* stats_sink) {
  RETURN_IF_ERROR(Validate(options));
  RETURN_IF_ERROR(LoadModel(options));
  constraints_.emplace([tokenizer = tokenizer_.tokenizer] { return TokenBytes(*tokenizer); });
  runner_.emplace(decoder_.get(), store_.get());
  if (!options.spill_folder.empty()) {
    ASSIGN_OR_RETURN(spill_,
                     SpillFile::Create(options.spill_folder, options.spill_bytes, store_.get()));
  }
  loop_.emplace(LoopOptions(options), &*runner_, clock, stats_sink, spill_.get());
  return absl::OkStatus();
}

absl::Status LoadedEngine::LoadModel(const EngineOptions& options) {
  ASSIGN_OR_RETURN(std::shared_ptr<const CheckpointReader> checkpoint,
                   OpenCheckpoint(options.model_path));
  ASSIGN_OR_RETURN(tokenizer_, LoadTokenizer(*checkpoint));
  ASSIGN_OR_RETURN(const ModelSpec spec, ReadModelSpec(*checkpoint));
  ASSIGN_OR_RETURN(backend_, CreateBackend(options.device, {.threads = options.threads,
                                                            .pin_threads = options.pin_threads,
                                                            .quantised_activations =
                                                                options.quantised_activations}));

  int max_context_tokens = spec.max_context_tokens;
  if (options.max_context_tokens > 0) {
    max_context_tokens = std::min(max_context_tokens, options.max_context_tokens);
  }
  const bool expanded_prompts = options.expanded_prompts && spec.attention == AttentionKind::kMla &&
                                MlaCrossover(spec.mla) < kExpandedBlock;
  ASSIGN_OR_RETURN(decoder_,
                   LoadDecoder(std::move(checkpoint), backend_.get(),
                               {.max_tokens = options.max_step_tokens,
                                .max_sequences = options.max_running_requests,
                                .max_logit_tokens = options.max_running_requests + kSpareLogits,
                                .max_context_tokens = max_context_tokens,
                                .expanded_attention = expanded_prompts}));
  const KvLayout layout = spec.CacheLayout(options.cache_dtype);
  ASSIGN_OR_RETURN(const int pages, CountPages(options, layout, *backend_, decoder_->weight_bytes(),
                                               max_context_tokens));
  ASSIGN_OR_RETURN(store_, backend_->CreateKvStore(layout, pages));

  info_ = {.name = NameOf(options, spec),
           .path = options.model_path,
           .spec = spec,
           .device = backend_->info().name,
           .weight_bytes = decoder_->weight_bytes(),
           .max_context_tokens = std::min(max_context_tokens, pages * kPageTokens),
           .cache_dtype = options.cache_dtype,
           .cache_pages = pages,
           .cache_bytes_per_token = layout.BytesPerToken(),
           .gqa_equivalent_bytes_per_token = spec.SourceCacheBytesPerToken(options.cache_dtype),
           .expanded_prompts = expanded_prompts};
  return absl::OkStatus();
}

EngineLoopOptions LoadedEngine::LoopOptions(const EngineOptions& options) const {
  EngineLoopOptions loop;
  loop.scheduler = {.max_step_tokens = options.max_step_tokens,
                    .max_running = options.max_running_requests,
                    .spare_logits = kSpareLogits,
                    .pages = static_cast<int>(info_.cache_pages),
                    .prefix_cache = options.prefix_cache,
                    .expanded_block = info_.expanded_prompts ? kExpandedBlock : 0,
                    .tenant_weights = options.tenant_weights};
  loop.max_queued_requests = options.max_queued_requests;
  loop.max_queued_tokens = options.max_queued_tokens;
  loop.context = {.tokenizer = tokenizer_.tokenizer,
                  .eos_token_ids = EndTokens(*tokenizer_.tokenizer, info_.spec),
                  .max_context_tokens = info_.max_context_tokens,
                  .draft_tokens = options.draft_tokens};
  loop.bytes_per_page = store_->layout().BytesPerPage();
  loop.cache_bytes_per_token = info_.cache_bytes_per_token;
  loop.gqa_equivalent_bytes_per_token = info_.gqa_equivalent_bytes_per_token;
  return loop;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> CreateEngine(const EngineOptions& options, Clock* clock,
                                                     StatsSink* stats_sink) {
  auto engine = std::make_unique<LoadedEngine>();
  RETURN_IF_ERROR(engine->Load(options, clock, stats_sink));
  return engine;
}

void LimitConversionThreads(int threads) { SetLinalgThreads(threads); }

absl::StatusOr<std::unique_ptr<Backend>> CreateBackend(const std::string& device,
                                                       const CpuOptions& cpu) {
  ASSIGN_OR_RETURN(const DeviceSpec spec, ParseDeviceSpec(device));
  switch (spec.kind) {
    case DeviceSpec::Kind::kCpu:
      return CreateCpuBackend(cpu);
    case DeviceSpec::Kind::kCuda:
      return CreateCudaBackend({.device = spec.index});
  }
  return absl::InvalidArgumentError(absl::StrCat("unknown device ", device));
}

}  // namespace transmla
