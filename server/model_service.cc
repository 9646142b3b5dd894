#include "server/model_service.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

#include "engine/base/error_reason.h"
#include "engine/base/status.h"
#include "server/limits.h"
#include "server/translate.h"

namespace transmla {
namespace {

constexpr size_t kQueuedCalls = 64;
constexpr absl::string_view kPageTokenPrefix = "after:";

// A page of all models. A token names the last model of the page before, so that models that come
// and go between two pages move none of the others.
absl::Status FillPage(const v1::ListModelsRequest& request, const ModelRegistry& registry,
                      v1::ListModelsResponse* response) {
  if (request.page_size() < 0) {
    return InvalidField("page_size",
                        absl::StrCat("is ", request.page_size(), "; it must not be negative"));
  }
  std::vector<std::shared_ptr<ServedModel>> models = registry.All();
  if (absl::string_view last = request.page_token(); !last.empty()) {
    if (!absl::ConsumePrefix(&last, kPageTokenPrefix)) {
      return InvalidField("page_token", "is not one that this server gave");
    }
    // The first one comes before all others, whatever its name; then they are sorted.
    const bool first_only = last == registry.first().name();
    models.erase(models.begin(),
                 std::find_if(models.begin() + 1, models.end(), [&](const auto& model) {
                   return first_only || model->name() > last;
                 }));
  }
  const size_t most = request.page_size() == 0 ? models.size() : request.page_size();
  for (size_t i = 0; i < std::min(most, models.size()); ++i) {
    *response->add_models() = ToProto(*models[i]);
  }
  if (most < models.size()) {
    response->set_next_page_token(absl::StrCat(kPageTokenPrefix, models[most - 1]->name()));
  }
  return absl::OkStatus();
}

}  // namespace

ModelServiceImpl::ModelServiceImpl(ModelRegistry* registry, ModelLoader* loader,
                                   Conversions* conversions)
    : registry_(registry),
      loader_(loader),
      conversions_(conversions),
      pool_("models", 1, kQueuedCalls) {}

grpc::ServerUnaryReactor* ModelServiceImpl::GetModel(grpc::CallbackServerContext* context,
                                                     const v1::GetModelRequest* request,
                                                     v1::GetModelResponse* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  const absl::StatusOr<std::shared_ptr<ServedModel>> model = registry_->Find(request->name());
  if (model.ok()) *response->mutable_model() = ToProto(**model);
  reactor->Finish(ToGrpcStatus(model.status()));
  return reactor;
}

grpc::ServerUnaryReactor* ModelServiceImpl::ListModels(grpc::CallbackServerContext* context,
                                                       const v1::ListModelsRequest* request,
                                                       v1::ListModelsResponse* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  reactor->Finish(ToGrpcStatus(FillPage(*request, *registry_, response)));
  return reactor;
}

grpc::ServerUnaryReactor* ModelServiceImpl::StartOnPool(
    grpc::CallbackServerContext* context, google::longrunning::Operation* response,
    std::function<absl::StatusOr<google::longrunning::Operation>()> start) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  if (const auto engine = registry_->first().ForNewRequest(); !engine.ok()) {
    reactor->Finish(ToGrpcStatus(engine.status()));
    return reactor;
  }
  const bool queued = pool_.TryRun([context, reactor, response, start = std::move(start)] {
    if (context->IsCancelled()) return reactor->Finish(grpc::Status::CANCELLED);
    absl::StatusOr<google::longrunning::Operation> operation = start();
    if (operation.ok()) *response = *std::move(operation);
    reactor->Finish(ToGrpcStatus(operation.status()));
  });
  if (!queued) {
    reactor->Finish(ToGrpcStatus(WithReason(
        absl::ResourceExhaustedError("too many operations are being asked for; try again later"),
        reason::kQueueFull)));
  }
  return reactor;
}

grpc::ServerUnaryReactor* ModelServiceImpl::ConvertModel(grpc::CallbackServerContext* context,
                                                         const v1::ConvertModelRequest* request,
                                                         google::longrunning::Operation* response) {
  return StartOnPool(context, response, [this, request] { return conversions_->Start(*request); });
}

grpc::ServerUnaryReactor* ModelServiceImpl::LoadModel(grpc::CallbackServerContext* context,
                                                      const v1::LoadModelRequest* request,
                                                      google::longrunning::Operation* response) {
  return StartOnPool(context, response, [this, request] { return loader_->Load(*request); });
}

grpc::ServerUnaryReactor* ModelServiceImpl::UnloadModel(grpc::CallbackServerContext* context,
                                                        const v1::UnloadModelRequest* request,
                                                        google::longrunning::Operation* response) {
  return StartOnPool(context, response, [this, request] { return loader_->Unload(*request); });
}

}  // namespace transmla
