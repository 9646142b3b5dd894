#include "server/model_service.h"

#include <utility>

#include "absl/strings/str_cat.h"

#include "engine/base/error_reason.h"
#include "server/translate.h"

namespace transmla {
namespace {

constexpr size_t kQueuedConvertCalls = 64;

absl::Status CheckPage(const v1::ListModelsRequest& request) {
  if (request.page_size() < 0) {
    return InvalidField("page_size",
                        absl::StrCat("is ", request.page_size(), "; it must not be negative"));
  }
  if (!request.page_token().empty()) {
    return InvalidField("page_token", "is not one that this server gave");
  }
  return absl::OkStatus();
}

}  // namespace

ModelServiceImpl::ModelServiceImpl(ServedModel* model, Conversions* conversions)
    : model_(model), conversions_(conversions), pool_("models", 1, kQueuedConvertCalls) {}

v1::Model ModelServiceImpl::Describe() const {
  const Engine* const engine = model_->engine();
  if (engine == nullptr) {
    v1::Model loading;
    loading.set_name(model_->name());
    loading.set_state(v1::Model::STATE_LOADING);
    return loading;
  }
  v1::Model::State state = v1::Model::STATE_READY;
  if (model_->draining()) state = v1::Model::STATE_DRAINING;
  if (engine->stats().failed) state = v1::Model::STATE_FAILED;
  return ToProto(engine->model(), state, engine->chat_template() != nullptr);
}

grpc::ServerUnaryReactor* ModelServiceImpl::GetModel(grpc::CallbackServerContext* context,
                                                     const v1::GetModelRequest* request,
                                                     v1::GetModelResponse* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  *response->mutable_model() = Describe();
  const absl::Status status = CheckModelName(request->name(), response->model().name());
  reactor->Finish(ToGrpcStatus(status));
  return reactor;
}

grpc::ServerUnaryReactor* ModelServiceImpl::ListModels(grpc::CallbackServerContext* context,
                                                       const v1::ListModelsRequest* request,
                                                       v1::ListModelsResponse* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  *response->add_models() = Describe();
  reactor->Finish(ToGrpcStatus(CheckPage(*request)));
  return reactor;
}

grpc::ServerUnaryReactor* ModelServiceImpl::ConvertModel(grpc::CallbackServerContext* context,
                                                         const v1::ConvertModelRequest* request,
                                                         google::longrunning::Operation* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  // A conversion that begins before the model is loaded, or while the server drains, would be cut
  // off.
  if (const auto engine = model_->ForNewRequest(); !engine.ok()) {
    reactor->Finish(ToGrpcStatus(engine.status()));
    return reactor;
  }
  const bool queued = pool_.TryRun([this, context, reactor, request, response] {
    if (context->IsCancelled()) return reactor->Finish(grpc::Status::CANCELLED);
    absl::StatusOr<google::longrunning::Operation> operation = conversions_->Start(*request);
    if (operation.ok()) *response = *std::move(operation);
    reactor->Finish(ToGrpcStatus(operation.status()));
  });
  if (!queued) {
    reactor->Finish(ToGrpcStatus(WithReason(
        absl::ResourceExhaustedError("too many conversions are being asked for; try again later"),
        reason::kQueueFull)));
  }
  return reactor;
}

}  // namespace transmla
