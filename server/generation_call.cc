#include "server/generation_call.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"

#include "engine/base/error_reason.h"
#include "engine/base/status.h"
#include "engine/tool_call/format.h"
#include "server/limits.h"
#include "server/logging.h"
#include "server/prompt.h"

namespace transmla {
namespace {

int SequencesOrOne(const v1::GenerateRequest& message) {
  const absl::StatusOr<SequenceCounts> sequences = SequencesOf(message);
  return sequences.ok() ? sequences->returned : 1;
}

absl::Status CheckLength(const std::vector<int32_t>& prompt, const StopParams& stop,
                         const ModelInfo& model) {
  // One token at least is generated.
  const int64_t wanted = static_cast<int64_t>(prompt.size()) + std::max(stop.max_tokens, 1);
  if (wanted <= model.max_context_tokens) return absl::OkStatus();
  return WithReason(
      absl::InvalidArgumentError(absl::StrCat(
          "the prompt has ", prompt.size(), " tokens and max_tokens is ",
          std::max(stop.max_tokens, 1), ": together ", wanted, ", but the context holds ",
          model.max_context_tokens, "; shorten the prompt or lower stop.max_tokens")),
      reason::kContextTooLong);
}

std::shared_ptr<ServedModel> FindOrFirst(const ModelRegistry& registry, absl::string_view name,
                                         absl::Status* found) {
  absl::StatusOr<std::shared_ptr<ServedModel>> model = registry.Find(name);
  *found = model.status();
  return model.ok() ? *std::move(model) : registry.shared_first();
}

// The form of the tool calls that are to be parsed.
absl::StatusOr<ToolCallFormat> ToolCallsOf(const v1::GenerateRequest& message,
                                           const ChatTemplate* chat_template) {
  const v1::OutputOptions& output = message.output();
  const bool wanted = output.has_parse_tool_calls() ? output.parse_tool_calls()
                                                    : !message.chat().tools_json().empty();
  if (!wanted) return ToolCallFormat::kNone;
  const ToolCallFormat format = chat_template == nullptr
                                    ? ToolCallFormat::kNone
                                    : DetectToolCallFormat(chat_template->source());
  if (format == ToolCallFormat::kNone && output.parse_tool_calls()) {
    return InvalidField("output.parse_tool_calls",
                        "is set, but the model's chat template shows no form of tool calls");
  }
  return format;
}

}  // namespace

// One sequence's events into the writer.
class GenerationCall::Sink : public EventSink {
 public:
  Sink(std::shared_ptr<GenerationCall> call, int index) : call_(std::move(call)), index_(index) {}

  void OnTokens(TokenEvent event) override {
    if (call_->best_of_ != nullptr) return call_->best_of_->OnTokens(index_, std::move(event));
    call_->writer_.OnTokens(index_, event);
  }

  void OnPrompt(PromptEvent event) override {
    v1::PromptInfo prompt;
    AppendPrompt(event, call_->first_token_, &prompt);
    call_->writer_.OnPrompt(prompt);
  }

  void OnFinished(FinishedEvent event) override {
    if (event.reason == FinishReason::kCancelled) {
      call_->writer_.End(WithReason(absl::CancelledError("the request was cancelled"),
                                    reason::kCancelledByClient));
    }
    if (call_->best_of_ != nullptr) return call_->best_of_->OnFinished(index_, std::move(event));
    call_->writer_.OnFinished(index_, ToProto(event, call_->engine_->model()), event.usage);
  }

  void OnError(const absl::Status& status, const RequestUsage& usage) override {
    (void)usage;
    absl::Status reported =
        WithDefaultReason(status, absl::StatusCode::kResourceExhausted, reason::kQueueTimeout);
    if (call_->model_->draining()) {
      reported =
          WithDefaultReason(std::move(reported), absl::StatusCode::kUnavailable, reason::kDraining);
    }
    call_->writer_.End(reported);
  }

 private:
  const std::shared_ptr<GenerationCall> call_;
  const int index_;
};

GenerationCall::GenerationCall(Params params, const ModelRegistry& registry, LiveIds* live_ids,
                               StreamTransport* transport)
    : params_(std::move(params)),
      id_(params_.message.request_id().empty() ? params_.generated_id
                                               : params_.message.request_id()),
      model_(FindOrFirst(registry, params_.message.model(), &model_found_)),
      live_ids_(live_ids),
      arrival_(params_.clock->Now()),
      writer_({SequencesOrOne(params_.message), SelectionOf(params_.message), params_.clock},
              transport) {}

absl::Status GenerationCall::Admit() {
  const v1::GenerateRequest& message = params_.message;
  RETURN_IF_ERROR(model_found_);
  ASSIGN_OR_RETURN(engine_, model_->ForNewRequest());
  RETURN_IF_ERROR(CheckRequestId(message.request_id()));
  if (!live_ids_->Add(id_)) {
    return WithReason(
        absl::AlreadyExistsError(absl::StrCat("a request with the id \"", id_, "\" is running")),
        reason::kDuplicateRequest);
  }
  owns_id_ = true;
  ASSIGN_OR_RETURN(sequences_, SequencesOf(message));
  if (params_.streamed && sequences_.generated > sequences_.returned) {
    return InvalidField("sampling.best_of",
                        "is above num_sequences: nothing can be streamed before all are done; use "
                        "GenerateOnce");
  }
  RETURN_IF_ERROR(CheckPrompt(message));
  const int allowed = message.sampling().allowed_token_ids_size();
  if (allowed > engine_->model().spec.vocab_size) {
    return InvalidField("sampling.allowed_token_ids",
                        absl::StrCat("has ", allowed, " ids; at most the vocabulary of ",
                                     engine_->model().spec.vocab_size));
  }
  RETURN_IF_ERROR(ToEngineRequest(message, params_.generated_seed).status());
  RETURN_IF_ERROR(ConstraintOf(message).status());
  for (int i = 0; i < sequences_.generated; ++i) {
    ASSIGN_OR_RETURN(AdmissionTicket ticket, engine_->Reserve());
    tickets_.push_back(std::move(ticket));
  }
  return absl::OkStatus();
}

void GenerationCall::Run() {
  if (writer_.finished()) {
    tickets_.clear();
    model_->metrics().CountRefusal(absl::CancelledError("the client went away"));
    return;
  }
  if (const absl::Status status = Submit(); !status.ok()) Refuse(status);
}

absl::StatusOr<GenerateRequest> GenerationCall::MakeRequest() {
  const v1::GenerateRequest& message = params_.message;
  ASSIGN_OR_RETURN(Prompt prompt, BuildPrompt(message, *engine_));
  ASSIGN_OR_RETURN(GenerateRequest request, ToEngineRequest(message, params_.generated_seed));
  RETURN_IF_ERROR(CheckLength(prompt.ids, request.stop, engine_->model()));
  request.deadline = params_.deadline;
  request.prompt = std::move(prompt.ids);
  ASSIGN_OR_RETURN(request.tool_calls, ToolCallsOf(message, engine_->chat_template()));
  ASSIGN_OR_RETURN(const std::optional<ConstraintSpec> spec, ConstraintOf(message));
  if (spec.has_value()) {
    auto constraint = engine_->constraints().Compile(*spec);
    if (!constraint.ok()) {
      return InvalidField(ConstraintField(message), constraint.status().message());
    }
    request.constraint = *std::move(constraint);
  }
  if (const auto& words = message.sampling().bad_words(); !words.empty()) {
    auto banned =
        engine_->constraints().CompileBanned(std::vector<std::string>(words.begin(), words.end()));
    if (!banned.ok()) return InvalidField("sampling.bad_words", banned.status().message());
    request.bad_words = *std::move(banned);
  }
  return request;
}

absl::Status GenerationCall::Submit() {
  ASSIGN_OR_RETURN(GenerateRequest request, MakeRequest());
  prompt_tokens_ = static_cast<uint32_t>(request.prompt.size());
  first_token_ = request.prompt.front();
  if (params_.message.output().echo()) {
    v1::PromptInfo prompt;
    prompt.set_text(DecodeText(request.prompt, request.skip_special_tokens, *engine_));
    if (prompt.text().size() > kMaxEchoBytes) {
      return InvalidField("output.echo",
                          absl::StrCat("is set for a prompt of ", prompt.text().size(),
                                       " bytes; at most ", kMaxEchoBytes));
    }
    writer_.OnPrompt(prompt);
  }
  if (sequences_.generated > sequences_.returned) {
    best_of_ = std::make_unique<BestOf>(
        sequences_.generated, sequences_.returned,
        [this](std::vector<BestOf::Candidate> best) { DeliverBest(std::move(best)); });
    request.logprobs = std::max(request.logprobs, 0);
  }
  return SubmitAll(request);
}

absl::Status GenerationCall::SubmitAll(const GenerateRequest& request) {
  // Ends the first `count` sequences. The engine ignores those that ended by themselves.
  const auto cancel = [call = shared_from_this()](int count) {
    for (int i = 0; i < count; ++i) call->engine_->Cancel(call->EngineId(i));
  };
  for (int i = 0; i < sequences_.generated; ++i) {
    GenerateRequest copy = request;
    copy.id = EngineId(i);
    if (i > 0) {
      copy.after = EngineId(0);
      copy.prompt_logprobs = -1;  // the same for all
    }
    // Sequences of one request differ; the first is what a single one would be.
    copy.sampling.seed = request.sampling.seed + static_cast<uint64_t>(i);
    absl::Status status =
        engine_->Submit(std::move(tickets_[static_cast<size_t>(i)]), std::move(copy),
                        std::make_shared<Sink>(shared_from_this(), i));
    if (!status.ok()) {
      cancel(i);
      status = WithDefaultReason(std::move(status), absl::StatusCode::kResourceExhausted,
                                 reason::kQueueTokensFull);
      return WithDefaultReason(std::move(status), absl::StatusCode::kFailedPrecondition,
                               "KV_POOL_TOO_SMALL");
    }
  }
  v1::Accepted accepted;
  accepted.set_request_id(id_);
  accepted.set_prompt_tokens(prompt_tokens_);
  if (!writer_.Accept(std::move(accepted), [cancel, n = sequences_.generated] { cancel(n); })) {
    cancel(sequences_.generated);
  }
  return absl::OkStatus();
}

void GenerationCall::DeliverBest(std::vector<BestOf::Candidate> best) {
  for (size_t i = 0; i < best.size(); ++i) {
    const int index = static_cast<int>(i);
    for (const TokenEvent& event : best[i].events) writer_.OnTokens(index, event);
    writer_.OnFinished(index, ToProto(best[i].finished, engine_->model()), best[i].finished.usage);
  }
}

void GenerationCall::Refuse(const absl::Status& status) {
  tickets_.clear();
  model_->metrics().CountRefusal(status);
  writer_.End(status);
}

void GenerationCall::LogEnd() const {
  RequestLogLine line;
  // Takes the writer's lock, under which the end status was set.
  line.completion_tokens = writer_.completion_tokens();
  line.method = params_.method;
  // Also of a call that was refused for its long id.
  line.request_id = absl::string_view(id_).substr(0, kMaxRequestIdBytes);
  line.status = end_status_;
  line.prompt_tokens = prompt_tokens_;
  line.duration = params_.clock->Now() - arrival_;
  LogRequest(line);
}

void GenerationCall::OnCancel() {
  const bool late = params_.clock->Now() >= params_.deadline;
  writer_.OnCancel(late ? absl::DeadlineExceededError("the deadline passed")
                        : WithReason(absl::CancelledError("the client cancelled the request"),
                                     reason::kCancelledByClient));
}

void GenerationCall::Closing(const absl::Status& status) {
  end_status_ = status;
  if (std::exchange(owns_id_, false)) live_ids_->Remove(id_);
}

std::string GenerationCall::EngineId(int index) const {
  return absl::StrCat(params_.generated_id, "#", index);
}

}  // namespace transmla
