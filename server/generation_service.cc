#include "server/generation_service.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "engine/base/error_reason.h"
#include "engine/base/status.h"
#include "server/generation_call.h"
#include "server/limits.h"
#include "server/prompt.h"
#include "server/translate.h"

namespace transmla {
namespace {

absl::Time DeadlineOf(const grpc::CallbackServerContext& context) {
  const auto deadline = context.deadline();
  if (deadline == std::chrono::system_clock::time_point::max()) return absl::InfiniteFuture();
  return absl::FromChrono(deadline);
}

// Tells gRPC's own retries (gRFC A6) what RetryInfo tells people.
void AddPushback(const absl::Status& status, grpc::CallbackServerContext* context) {
  if (const auto delay = RetryDelay(status); delay.has_value()) {
    context->AddTrailingMetadata("grpc-retry-pushback-ms",
                                 absl::StrCat(absl::ToInt64Milliseconds(*delay)));
  }
}

// Deletes itself when gRPC is done with it.
class GenerateReactor final : public grpc::ServerWriteReactor<v1::GenerateResponse>,
                              public StreamTransport {
 public:
  explicit GenerateReactor(grpc::CallbackServerContext* context) : context_(context) {}
  void SetCall(std::shared_ptr<GenerationCall> call) { call_ = std::move(call); }

  bool Write(const v1::GenerateResponse& message) override {
    StartWrite(&message);
    return false;
  }
  void Close(const absl::Status& status) override {
    call_->Closing(status);
    AddPushback(status, context_);
    Finish(ToGrpcStatus(status));
  }
  void BreakWrite() override { context_->TryCancel(); }

  void OnWriteDone(bool ok) override { call_->writer().OnWriteDone(ok); }
  void OnCancel() override { call_->OnCancel(); }
  void OnDone() override {
    call_->LogEnd();
    delete this;
  }

 private:
  grpc::CallbackServerContext* const context_;
  std::shared_ptr<GenerationCall> call_;
};

// Gathers the messages of a stream into one response. Deletes itself like the above.
class GenerateOnceReactor final : public grpc::ServerUnaryReactor, public StreamTransport {
 public:
  GenerateOnceReactor(grpc::CallbackServerContext* context, v1::GenerateOnceResponse* response)
      : context_(context), response_(response) {}
  void SetCall(std::shared_ptr<GenerationCall> call) { call_ = std::move(call); }

  bool Write(const v1::GenerateResponse& message) override {
    if (message.has_usage()) *response_->mutable_usage() = message.usage();
    switch (message.event_case()) {
      case v1::GenerateResponse::kAccepted:
        response_->set_request_id(message.accepted().request_id());
        break;
      case v1::GenerateResponse::kPrompt:
        response_->mutable_prompt()->mutable_text()->append(message.prompt().text());
        response_->mutable_prompt()->mutable_tokens()->MergeFrom(message.prompt().tokens());
        break;
      case v1::GenerateResponse::kChunk: {
        v1::Completion* completion = At(message.chunk().index());
        completion->mutable_text()->append(message.chunk().text());
        completion->mutable_tokens()->MergeFrom(message.chunk().tokens());
        completion->mutable_tool_calls()->MergeFrom(message.chunk().tool_calls());
        break;
      }
      case v1::GenerateResponse::kFinished:
        *At(message.finished().index())->mutable_finished() = message.finished();
        break;
      case v1::GenerateResponse::EVENT_NOT_SET:
        break;
    }
    return true;
  }
  void Close(const absl::Status& status) override {
    call_->Closing(status);
    AddPushback(status, context_);
    Finish(ToGrpcStatus(status));
  }
  void BreakWrite() override {}

  void OnCancel() override { call_->OnCancel(); }
  void OnDone() override {
    call_->LogEnd();
    delete this;
  }

 private:
  v1::Completion* At(uint32_t index) {
    while (response_->completions_size() <= static_cast<int>(index)) response_->add_completions();
    return response_->mutable_completions(static_cast<int>(index));
  }

  grpc::CallbackServerContext* const context_;
  v1::GenerateOnceResponse* const response_;
  std::shared_ptr<GenerationCall> call_;
};

}  // namespace

GenerationServiceImpl::GenerationServiceImpl(const Options& options, ModelRegistry* registry)
    : options_(options),
      registry_(registry),
      random_(options.seed),
      watcher_("stalls", [this] { WatchForStalls(); }),
      pool_("tokenize", kTokenizerThreads, kTokenizerQueue) {}

GenerationServiceImpl::~GenerationServiceImpl() { stop_.Notify(); }

std::shared_ptr<GenerationCall> GenerationServiceImpl::NewCall(
    const char* method, bool streamed, const v1::GenerateRequest& message,
    const grpc::CallbackServerContext& context, StreamTransport* transport) {
  GenerationCall::Params params;
  params.method = method;
  params.streamed = streamed;
  params.message = message;
  params.deadline = DeadlineOf(context);
  params.clock = options_.clock;
  absl::MutexLock lock(&mutex_);
  // Drawn one after the other: the order of evaluation of arguments is not defined.
  const uint64_t high = random_();
  const uint64_t low = random_();
  params.generated_id = absl::StrFormat("%016x%016x", high, low);
  // What a client can send back in JSON without loss.
  params.generated_seed = random_() >> 11;
  auto call =
      std::make_shared<GenerationCall>(std::move(params), *registry_, &live_ids_, transport);
  calls_.push_back(call);
  return call;
}

void GenerationServiceImpl::Start(const std::shared_ptr<GenerationCall>& call) {
  if (const absl::Status status = call->Admit(); !status.ok()) {
    call->Refuse(status);
    return;
  }
  if (!pool_.TryRun([call] { call->Run(); })) {
    call->Refuse(WithReason(
        absl::ResourceExhaustedError("too many prompts wait to be tokenised; try again later"),
        reason::kQueueFull));
  }
}

grpc::ServerWriteReactor<v1::GenerateResponse>* GenerationServiceImpl::Generate(
    grpc::CallbackServerContext* context, const v1::GenerateRequest* request) {
  auto* const reactor = new GenerateReactor(context);
  const auto call = NewCall("Generate", /*streamed=*/true, *request, *context, reactor);
  reactor->SetCall(call);
  Start(call);
  return reactor;
}

grpc::ServerUnaryReactor* GenerationServiceImpl::GenerateOnce(
    grpc::CallbackServerContext* context, const v1::GenerateOnceRequest* request,
    v1::GenerateOnceResponse* response) {
  auto* const reactor = new GenerateOnceReactor(context, response);
  const auto call =
      NewCall("GenerateOnce", /*streamed=*/false, request->request(), *context, reactor);
  reactor->SetCall(call);
  Start(call);
  return reactor;
}

void GenerationServiceImpl::FinishOnPool(grpc::CallbackServerContext* context,
                                         grpc::ServerUnaryReactor* reactor,
                                         std::function<absl::Status()> work) {
  const bool queued = pool_.TryRun([context, reactor, work = std::move(work)] {
    // Nobody waits for it any more; a server that shuts down would.
    if (context->IsCancelled()) return reactor->Finish(grpc::Status::CANCELLED);
    reactor->Finish(ToGrpcStatus(work()));
  });
  if (queued) return;
  reactor->Finish(ToGrpcStatus(WithReason(
      absl::ResourceExhaustedError("too many prompts wait to be tokenised; try again later"),
      reason::kQueueFull)));
}

grpc::ServerUnaryReactor* GenerationServiceImpl::Tokenize(grpc::CallbackServerContext* context,
                                                          const v1::TokenizeRequest* request,
                                                          v1::TokenizeResponse* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  FinishOnPool(context, reactor, [this, request, response]() -> absl::Status {
    ASSIGN_OR_RETURN(const std::shared_ptr<ServedModel> model, registry_->Find(request->model()));
    ASSIGN_OR_RETURN(const Engine* engine, model->ForReading());
    RETURN_IF_ERROR(CheckPrompt(*request));
    ASSIGN_OR_RETURN(const Prompt prompt, BuildPrompt(*request, *engine));
    response->mutable_ids()->Assign(prompt.ids.begin(), prompt.ids.end());
    response->set_rendered(prompt.rendered);
    return absl::OkStatus();
  });
  return reactor;
}

grpc::ServerUnaryReactor* GenerationServiceImpl::Detokenize(grpc::CallbackServerContext* context,
                                                            const v1::DetokenizeRequest* request,
                                                            v1::DetokenizeResponse* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  FinishOnPool(context, reactor, [this, request, response]() -> absl::Status {
    ASSIGN_OR_RETURN(const std::shared_ptr<ServedModel> model, registry_->Find(request->model()));
    ASSIGN_OR_RETURN(const Engine* engine, model->ForReading());
    RETURN_IF_ERROR(CheckIdCount(request->ids_size(), "ids"));
    ASSIGN_OR_RETURN(const std::vector<int32_t> ids, CheckTokenIds(request->ids(), "ids", *engine));
    const bool skip = !request->has_skip_special_tokens() || request->skip_special_tokens();
    response->set_text(DecodeText(ids, skip, *engine));
    return absl::OkStatus();
  });
  return reactor;
}

void GenerationServiceImpl::WatchForStalls() {
  constexpr absl::Duration kInterval = absl::Milliseconds(200);
  while (!stop_.WaitForNotificationWithTimeout(kInterval)) {
    for (const auto& call : LiveCalls()) {
      if (call->writer().EndIfStalled(options_.stream_stall_timeout)) {
        call->model().metrics().CountStalledStream();
      }
    }
  }
}

std::vector<std::shared_ptr<GenerationCall>> GenerationServiceImpl::LiveCalls() const {
  std::vector<std::shared_ptr<GenerationCall>> live;
  absl::MutexLock lock(&mutex_);
  calls_.erase(std::remove_if(calls_.begin(), calls_.end(),
                              [&](const std::weak_ptr<GenerationCall>& weak) {
                                auto call = weak.lock();
                                if (call == nullptr) return true;
                                live.push_back(std::move(call));
                                return false;
                              }),
               calls_.end());
  return live;
}

int64_t GenerationServiceImpl::open_streams() const {
  const auto live = LiveCalls();
  return std::count_if(live.begin(), live.end(),
                       [](const auto& call) { return !call->writer().finished(); });
}

int64_t GenerationServiceImpl::backlog_bytes(const ServedModel& model) const {
  int64_t bytes = 0;
  for (const auto& call : LiveCalls()) {
    if (&call->model() == &model) bytes += static_cast<int64_t>(call->writer().backlog_bytes());
  }
  return bytes;
}

}  // namespace transmla
