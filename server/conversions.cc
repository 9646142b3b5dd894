#include "server/conversions.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"

#include "engine/base/error_reason.h"
#include "engine/base/file.h"
#include "engine/base/status.h"
#include "engine/convert/staged_folder.h"
#include "server/confined_path.h"
#include "server/limits.h"
#include "server/logging.h"
#include "server/translate.h"

namespace transmla {
namespace {

using google::longrunning::Operation;

absl::StatusOr<int> ToInt(absl::string_view field, uint32_t value) {
  if (value <= INT32_MAX) return static_cast<int>(value);
  return InvalidField(field, absl::StrCat("is ", value, "; at most ", INT32_MAX));
}

absl::Status FillNumbers(const v1::ConversionOptions& from, ConvertOptions* to) {
  if (from.has_qk_rope_head_dim()) {
    ASSIGN_OR_RETURN(to->qk_rope_head_dim,
                     ToInt("options.qk_rope_head_dim", from.qk_rope_head_dim()));
  }
  if (from.has_kv_lora_rank()) {
    ASSIGN_OR_RETURN(to->kv_lora_rank, ToInt("options.kv_lora_rank", from.kv_lora_rank()));
  }
  if (from.has_cache_ratio()) to->cache_ratio = from.cache_ratio();
  to->max_perplexity_increase = from.max_perplexity_increase();
  to->compare_ratios.assign(from.compare_ratios().begin(), from.compare_ratios().end());
  to->recovery_tokens = from.recovery_tokens();
  if (from.has_q_lora_rank()) {
    ASSIGN_OR_RETURN(to->q_lora_rank, ToInt("options.q_lora_rank", from.q_lora_rank()));
  }
  if (from.has_freqfold()) {
    ASSIGN_OR_RETURN(to->freqfold, ToInt("options.freqfold", from.freqfold()));
  }
  if (from.has_balance_kv_ratio()) to->balance_kv_ratio = from.balance_kv_ratio();
  if (from.has_nsamples()) {
    ASSIGN_OR_RETURN(to->nsamples, ToInt("options.nsamples", from.nsamples()));
  }
  if (from.has_seqlen()) {
    ASSIGN_OR_RETURN(to->seqlen, ToInt("options.seqlen", from.seqlen()));
  }
  if (from.has_seed()) to->seed = from.seed();
  if (from.has_evaluation_sequences()) {
    ASSIGN_OR_RETURN(to->evaluation_sequences,
                     ToInt("options.evaluation_sequences", from.evaluation_sequences()));
  }
  return absl::OkStatus();
}

absl::StatusOr<ConvertOptions> ToConvertOptions(const v1::ConvertModelRequest& request,
                                                const std::string& root) {
  ConvertOptions options;
  ASSIGN_OR_RETURN(options.source, ConfinePath(root, request.source(), "source"));
  ASSIGN_OR_RETURN(options.destination, ConfinePath(root, request.destination(), "destination"));
  options.overwrite = request.overwrite();
  const v1::ConversionOptions& from = request.options();
  if (!from.recipe().empty()) {
    const std::optional<Recipe> recipe = ParseRecipe(from.recipe());
    if (!recipe.has_value()) {
      return InvalidField("options.recipe", absl::StrCat("is \"", from.recipe(),
                                                         "\"; it must be \"best\", "
                                                         "\"transmla\" or \"equivalent\""));
    }
    options.recipe = *recipe;
  }
  if (!from.format().empty()) {
    const std::optional<OutputFormat> format = ParseOutputFormat(from.format());
    if (!format.has_value()) {
      return InvalidField("options.format", absl::StrCat("is \"", from.format(), "\"; it must be ",
                                                         OutputFormatChoice()));
    }
    options.format = *format;
  }
  if (from.has_keep_output()) options.keep_output = from.keep_output();
  if (from.has_shared_frequencies()) options.shared_frequencies = from.shared_frequencies();
  if (!from.dtype().empty()) {
    options.dtype = ParseDType(from.dtype());
    if (!options.dtype.has_value() || !CanBeWritten(*options.dtype, options.format)) {
      return InvalidField("options.dtype", absl::StrCat("is \"", from.dtype(), "\"; it must be ",
                                                        DTypeChoice(options.format)));
    }
  }
  for (const std::string& file : from.text_files()) {
    ASSIGN_OR_RETURN(options.text_files.emplace_back(),
                     ConfinePath(root, file, "options.text_files"));
  }
  options.sample_text = from.sample_text();
  RETURN_IF_ERROR(FillNumbers(from, &options));
  return options;
}

// What the converter's errors mean to a client.
absl::Status WithReasons(absl::Status status) {
  status =
      WithDefaultReason(std::move(status), absl::StatusCode::kAlreadyExists, reason::kTargetExists);
  return WithDefaultReason(std::move(status), absl::StatusCode::kResourceExhausted,
                           reason::kNoSpace);
}

v1::ConvertModelResponse ToResponse(const ConversionReport& report) {
  v1::ConvertModelResponse response;
  response.set_report_json(report.ToJson());
  response.set_cache_bytes_per_token_before(
      static_cast<uint64_t>(report.cache_bytes_per_token_before));
  response.set_cache_bytes_per_token_after(
      static_cast<uint64_t>(report.cache_bytes_per_token_after));
  return response;
}

google::protobuf::Any Pack(const v1::ConvertModelResponse& response) {
  google::protobuf::Any any;
  any.PackFrom(response);
  return any;
}

// Terminal state of `metadata` for `result`.
void SetEnd(const absl::Status& result, absl::Time now, v1::ConvertModelMetadata* metadata) {
  metadata->set_state(result.ok()                 ? v1::ConvertModelMetadata::STATE_SUCCEEDED
                      : absl::IsCancelled(result) ? v1::ConvertModelMetadata::STATE_CANCELLED
                                                  : v1::ConvertModelMetadata::STATE_FAILED);
  metadata->clear_seconds_left();
  if (result.ok()) metadata->set_progress_ratio(1);
  SetTime(now, metadata->mutable_update_time());
}

}  // namespace

Conversions::Conversions(std::string root, Converter converter, Clock* clock, OperationStore* store,
                         Metrics* metrics, ModelLoader* loader)
    : root_(std::move(root)),
      converter_(std::move(converter)),
      clock_(clock),
      store_(store),
      metrics_(metrics),
      loader_(loader),
      queue_(kMaxQueuedConversions),
      thread_("conversion", [this] { Work(); }) {}

Conversions::~Conversions() { Shutdown(); }

absl::StatusOr<Operation> Conversions::Start(const v1::ConvertModelRequest& request) {
  if (root_.empty()) {
    return WithReason(absl::FailedPreconditionError(
                          "conversion is off; start the server with --conversion-root=FOLDER, "
                          "below which models are read and written"),
                      reason::kConversionDisabled);
  }
  ASSIGN_OR_RETURN(ConvertOptions options, ToConvertOptions(request, root_));
  if (!request.serve_as().empty()) {
    RETURN_IF_ERROR(loader_->CheckName("serve_as", request.serve_as()));
  }
  if (const absl::Status free =
          CheckDestination(*PosixFileSystem(), options.destination, options.overwrite);
      !free.ok()) {
    return WithReasons(free);
  }
  RETURN_IF_ERROR(CheckTextIsNamed(options));
  // Also finds out whether the source and the options fit.
  absl::StatusOr<ConversionReport> planned = converter_.plan(options);
  if (!planned.ok()) return WithReasons(planned.status());
  const ConversionReport& plan = *planned;

  auto job = std::make_shared<Job>();
  job->options = options;
  job->serve_as = request.serve_as();
  job->metadata.set_state(v1::ConvertModelMetadata::STATE_QUEUED);
  job->metadata.set_source(request.source());
  job->metadata.set_destination(request.destination());
  job->metadata.set_layers_total(static_cast<uint32_t>(plan.num_layers));
  SetTime(clock_->Now(), job->metadata.mutable_start_time());
  SetTime(clock_->Now(), job->metadata.mutable_update_time());
  if (request.validate_only()) {
    const std::string name = store_->Create("plan", job->metadata).name();
    SetEnd(absl::OkStatus(), clock_->Now(), &job->metadata);
    store_->Finish(name, job->metadata, Pack(ToResponse(plan)));
    return store_->Get(name);
  }

  absl::MutexLock lock(&mutex_);
  if (std::count(destinations_.begin(), destinations_.end(), options.destination) > 0) {
    return WithReason(absl::AbortedError(absl::StrCat("a conversion to \"", request.destination(),
                                                      "\" is under way already")),
                      reason::kOperationInProgress);
  }
  const absl::Status full =
      WithReason(absl::ResourceExhaustedError(absl::StrCat(
                     kMaxQueuedConversions, " conversions wait already; try again later")),
                 reason::kQueueFull);
  // Before an operation exists that nobody would be told of. Others only take from the queue.
  if (queued_ >= int64_t{kMaxQueuedConversions}) return full;
  const Operation operation = store_->Create("convert", job->metadata);
  job->operation = operation.name();
  ++queued_;
  if (stop_ || !queue_.TryPush(job)) {
    --queued_;
    const absl::Status stopped =
        WithReason(absl::UnavailableError("the server is shutting down"), reason::kDraining);
    SetEnd(stopped, clock_->Now(), &job->metadata);
    store_->Finish(operation.name(), job->metadata, stopped);
    return stopped;
  }
  destinations_.push_back(options.destination);
  return operation;
}

void Conversions::Shutdown() {
  stop_ = true;
  queue_.Close();
  thread_.Join();
}

void Conversions::Work() {
  // The threads that a conversion starts inherit it.
  LowerPriorityOfThisThread(kConversionNice);
  while (std::optional<std::shared_ptr<Job>> job = queue_.Pop(absl::InfiniteDuration())) {
    --queued_;
    ++running_;
    Run(**job);
  }
}

void Conversions::Run(Job job) {
  const absl::Time start = clock_->Now();
  ConversionContext context;
  context.make_backend = converter_.make_backend;
  context.clock = clock_;
  context.is_cancelled = [this, &job] { return stop_ || store_->IsCancelRequested(job.operation); };
  // Who asks again after a restart is to have lost little.
  context.keeps_work = [this] { return stop_ || store_->IsShutDown(); };
  context.on_progress = [this, &job](const ConversionProgress& progress) {
    progress_ = progress.ratio;
    job.metadata.set_stage(std::string(ConversionStageName(progress.stage)));
    job.metadata.set_layers_done(static_cast<uint32_t>(progress.layer));
    if (progress.layers > 0) job.metadata.set_layers_total(static_cast<uint32_t>(progress.layers));
    job.metadata.set_progress_ratio(progress.ratio);
    job.metadata.clear_seconds_left();
    if (progress.time_left < absl::InfiniteDuration()) {
      job.metadata.set_seconds_left(absl::ToDoubleSeconds(progress.time_left));
    }
    job.metadata.set_cancel_requested(store_->IsCancelRequested(job.operation));
    SetTime(clock_->Now(), job.metadata.mutable_update_time());
    store_->Update(job.operation, job.metadata);
  };
  job.metadata.set_state(v1::ConvertModelMetadata::STATE_RUNNING);
  store_->Update(job.operation, job.metadata);

  absl::StatusOr<ConversionReport> report = context.is_cancelled()
                                                ? absl::CancelledError("cancelled while it waited")
                                                : converter_.convert(job.options, context);
  job.metadata.set_cancel_requested(store_->IsCancelRequested(job.operation));
  SetEnd(report.status(), clock_->Now(), &job.metadata);
  metrics_->CountConversion(report.status(), clock_->Now() - start);
  LogInfo(absl::StrCat("conversion ", job.operation, " to ", job.metadata.destination(), ": ",
                       report.status().ToString()));
  Release(job.options.destination);
  // Before anybody hears of the end: who then reads the metrics finds it counted.
  --running_;
  progress_ = 0;
  store_->Finish(job.operation, job.metadata, ResultOf(job, report));
}

absl::StatusOr<google::protobuf::Any> Conversions::ResultOf(
    const Job& job, const absl::StatusOr<ConversionReport>& report) {
  if (!report.ok()) return WithReasons(report.status());
  v1::ConvertModelResponse response = ToResponse(*report);
  if (!job.serve_as.empty()) {
    v1::LoadModelRequest request;
    request.set_path(job.metadata.destination());
    request.set_name(job.serve_as);
    const absl::StatusOr<Operation> load = loader_->Load(request);
    if (load.ok()) {
      response.set_load_operation(load->name());
    } else {
      *response.mutable_load_error() = ToRpcStatus(load.status());
    }
  }
  return Pack(response);
}

void Conversions::Release(const std::string& destination) {
  absl::MutexLock lock(&mutex_);
  destinations_.erase(std::remove(destinations_.begin(), destinations_.end(), destination),
                      destinations_.end());
}

}  // namespace transmla
