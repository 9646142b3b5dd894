// CudaBackend: the seam on one NVIDIA device. Activations are BF16.
//
// It has Pack (F32, F16, BF16), NewTensor, Prepare, Begin, Linear, Route, GatherRows, CombineRows,
// Read and Write. The other operations return Unimplemented, which names them and the CPU backend;
// the decoder needs all.
#ifndef TRANSMLA_ENGINE_BACKEND_CUDA_CUDA_BACKEND_H_
#define TRANSMLA_ENGINE_BACKEND_CUDA_CUDA_BACKEND_H_

#include <memory>
#include <utility>

#include <cuda_runtime_api.h>

#include "engine/backend/backend.h"
#include "engine/backend/cuda/create.h"
#include "engine/backend/cuda/experts.h"
#include "engine/backend/cuda/linear.h"

namespace transmla::cuda {

// Everything runs in one stream, in the order of the calls. The calling thread's current device is
// set by each call.
class CudaBackend final : public Backend {
 public:
  static absl::StatusOr<std::unique_ptr<Backend>> Create(const CudaOptions& options);
  ~CudaBackend() override;
  DeviceInfo info() const override { return info_; }

 private:
  CudaBackend(int device, DeviceInfo info) : device_(device), info_(std::move(info)) {}

  absl::StatusOr<WeightPtr> DoPack(const WeightSource& source) override;
  absl::StatusOr<std::unique_ptr<KvStore>> DoCreateKvStore(const KvLayout& layout,
                                                           int pages) override;
  absl::StatusOr<std::unique_ptr<DeviceTensor>> DoNewTensor(const Shape& shape) override;
  absl::Status DoPrepare(const StepLimits& limits) override;
  absl::Status DoBegin(const RaggedBatch& batch) override;
  absl::Status DoEmbedding(const EmbeddingArgs& args) override;
  absl::Status DoNorm(const NormArgs& args) override;
  absl::Status DoLinear(const LinearArgs& args) override;
  absl::Status DoPerHeadLinear(const PerHeadLinearArgs& args) override;
  absl::Status DoGqaCacheWrite(const GqaCacheWriteArgs& args) override;
  absl::Status DoMlaCacheWrite(const MlaCacheWriteArgs& args) override;
  absl::Status DoGqaAttention(const GqaAttentionArgs& args) override;
  absl::Status DoMlaAttention(const MlaAttentionArgs& args) override;
  absl::Status DoMlaExpandedAttention(const MlaExpandedAttentionArgs& args) override;
  absl::Status DoGatedActivation(const GatedActivationArgs& args) override;
  absl::Status DoRoute(const RouteArgs& args) override;
  absl::Status DoGatherRows(const GatherRowsArgs& args) override;
  absl::Status DoCombineRows(const CombineRowsArgs& args) override;
  absl::StatusOr<absl::Span<const float>> DoFinish(const LogitsArgs& args) override;
  absl::Status DoRead(const TensorView& tensor, absl::Span<float> out) override;
  absl::Status DoWrite(absl::Span<const float> values, const MutableTensorView& tensor) override;
  absl::Status DoCopyPages(KvStore* store,
                           absl::Span<const std::pair<PageId, PageId>> copies) override;

  absl::Status UseDevice() const;

  int device_;
  DeviceInfo info_;
  cudaStream_t stream_ = nullptr;
  std::unique_ptr<LinearRunner> linear_;
  ExpertRunner experts_;
};

}  // namespace transmla::cuda

#endif  // TRANSMLA_ENGINE_BACKEND_CUDA_CUDA_BACKEND_H_
