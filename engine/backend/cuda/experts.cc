#include "engine/backend/cuda/experts.h"

#include "engine/backend/cuda/expert_kernels.h"
#include "engine/backend/cuda/status.h"

namespace transmla::cuda {

absl::Status ExpertRunner::Reserve(int max_tokens) {
  const int64_t routes = int64_t{max_tokens} * kMaxExpertsPerToken;
  ASSIGN_OR_RETURN(rows_, DeviceBuffer::Create(routes * int64_t{sizeof(int32_t)}));
  ASSIGN_OR_RETURN(weights_, DeviceBuffer::Create(routes * int64_t{sizeof(float)}));
  return absl::OkStatus();
}

absl::Status ExpertRunner::Route(cudaStream_t stream, const RouteArgs& args) {
  CUDA_RETURN_IF_ERROR(RouteTokens(stream, args.logits.as<uint16_t>(), args.logits.shape[0],
                                   static_cast<int>(args.logits.shape[1]), args.top_k,
                                   args.normalize, rows_.as<int32_t>(), weights_.as<float>()));
  CUDA_RETURN_IF_ERROR(cudaMemcpyAsync(args.experts.data(), rows_.data(),
                                       args.experts.size() * sizeof(int32_t),
                                       cudaMemcpyDeviceToHost, stream));
  CUDA_RETURN_IF_ERROR(cudaMemcpyAsync(args.weights.data(), weights_.data(),
                                       args.weights.size() * sizeof(float), cudaMemcpyDeviceToHost,
                                       stream));
  CUDA_RETURN_IF_ERROR(cudaStreamSynchronize(stream));
  return absl::OkStatus();
}

absl::Status ExpertRunner::GatherRows(cudaStream_t stream, const GatherRowsArgs& args) {
  if (args.rows.empty()) return absl::OkStatus();
  CUDA_RETURN_IF_ERROR(cudaMemcpyAsync(rows_.data(), args.rows.data(),
                                       args.rows.size() * sizeof(int32_t), cudaMemcpyHostToDevice,
                                       stream));
  CUDA_RETURN_IF_ERROR(Gather(stream, args.in.as<uint16_t>(), rows_.as<int32_t>(), args.in.shape[1],
                              args.out.shape.elements(), args.out.as<uint16_t>()));
  return absl::OkStatus();
}

absl::Status ExpertRunner::CombineRows(cudaStream_t stream, const CombineRowsArgs& args) {
  CUDA_RETURN_IF_ERROR(cudaMemcpyAsync(rows_.data(), args.rows.data(),
                                       args.rows.size() * sizeof(int32_t), cudaMemcpyHostToDevice,
                                       stream));
  CUDA_RETURN_IF_ERROR(cudaMemcpyAsync(weights_.data(), args.weights.data(),
                                       args.weights.size() * sizeof(float), cudaMemcpyHostToDevice,
                                       stream));
  CUDA_RETURN_IF_ERROR(Combine(stream, args.in.as<uint16_t>(), rows_.as<int32_t>(),
                               weights_.as<float>(), args.terms, args.accumulate, args.in.shape[1],
                               args.out.shape.elements(), args.out.as<uint16_t>()));
  return absl::OkStatus();
}

}  // namespace transmla::cuda
