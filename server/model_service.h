// ModelService: transmla.v1.ModelService: what is served, and conversions.
#ifndef TRANSMLA_SERVER_MODEL_SERVICE_H_
#define TRANSMLA_SERVER_MODEL_SERVICE_H_

#include "absl/status/statusor.h"
#include "transmla/v1/model.grpc.pb.h"
#include <grpcpp/grpcpp.h>

#include "server/conversions.h"
#include "server/served_model.h"
#include "server/worker_pool.h"

namespace transmla {

// `model` and `conversions` must outlive the service, the service the gRPC server.
class ModelServiceImpl final : public v1::ModelService::CallbackService {
 public:
  ModelServiceImpl(ServedModel* model, Conversions* conversions);

  grpc::ServerUnaryReactor* GetModel(grpc::CallbackServerContext* context,
                                     const v1::GetModelRequest* request,
                                     v1::GetModelResponse* response) override;
  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* context,
                                       const v1::ListModelsRequest* request,
                                       v1::ListModelsResponse* response) override;
  grpc::ServerUnaryReactor* ConvertModel(grpc::CallbackServerContext* context,
                                         const v1::ConvertModelRequest* request,
                                         google::longrunning::Operation* response) override;

 private:
  // Name and state only while loading.
  v1::Model Describe() const;

  ServedModel* const model_;
  Conversions* const conversions_;
  WorkerPool pool_;  // for what touches files
};

}  // namespace transmla

#endif  // TRANSMLA_SERVER_MODEL_SERVICE_H_
