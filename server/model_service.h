// ModelService: transmla.v1.ModelService: what is served, loading and unloading, and conversions.
#ifndef TRANSMLA_SERVER_MODEL_SERVICE_H_
#define TRANSMLA_SERVER_MODEL_SERVICE_H_

#include <functional>

#include "absl/status/statusor.h"
#include "transmla/v1/model.grpc.pb.h"
#include <grpcpp/grpcpp.h>

#include "server/conversions.h"
#include "server/model_loader.h"
#include "server/model_registry.h"
#include "server/worker_pool.h"

namespace transmla {

// The arguments must outlive the service, the service the gRPC server.
class ModelServiceImpl final : public v1::ModelService::CallbackService {
 public:
  ModelServiceImpl(ModelRegistry* registry, ModelLoader* loader, Conversions* conversions);

  grpc::ServerUnaryReactor* GetModel(grpc::CallbackServerContext* context,
                                     const v1::GetModelRequest* request,
                                     v1::GetModelResponse* response) override;
  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* context,
                                       const v1::ListModelsRequest* request,
                                       v1::ListModelsResponse* response) override;
  grpc::ServerUnaryReactor* ConvertModel(grpc::CallbackServerContext* context,
                                         const v1::ConvertModelRequest* request,
                                         google::longrunning::Operation* response) override;
  grpc::ServerUnaryReactor* LoadModel(grpc::CallbackServerContext* context,
                                      const v1::LoadModelRequest* request,
                                      google::longrunning::Operation* response) override;
  grpc::ServerUnaryReactor* UnloadModel(grpc::CallbackServerContext* context,
                                        const v1::UnloadModelRequest* request,
                                        google::longrunning::Operation* response) override;

 private:
  // Runs `start` on the pool and answers with what it gives. Refused while the server loads its
  // first model, which would come too late then, or drains, which would cut it off.
  grpc::ServerUnaryReactor* StartOnPool(
      grpc::CallbackServerContext* context, google::longrunning::Operation* response,
      std::function<absl::StatusOr<google::longrunning::Operation>()> start);

  ModelRegistry* const registry_;
  ModelLoader* const loader_;
  Conversions* const conversions_;
  WorkerPool pool_;  // for what touches files
};

}  // namespace transmla

#endif  // TRANSMLA_SERVER_MODEL_SERVICE_H_
