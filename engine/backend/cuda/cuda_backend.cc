#include "engine/backend/cuda/cuda_backend.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"

#include "engine/backend/cuda/devices.h"
#include "engine/backend/cuda/linear_kernels.h"
#include "engine/backend/cuda/status.h"
#include "engine/backend/cuda/weight.h"
#include "engine/tensor/float_types.h"

namespace transmla {

absl::StatusOr<std::unique_ptr<Backend>> CreateCudaBackend(const CudaOptions& options) {
  return cuda::CudaBackend::Create(options);
}

namespace cuda {
namespace {

absl::Status NotBuilt(absl::string_view operation) {
  return absl::UnimplementedError(
      absl::StrCat("the CUDA backend has no ", operation, " yet; use --device=cpu"));
}

class CudaTensor : public DeviceTensor {
 public:
  CudaTensor(const Shape& shape, DeviceBuffer buffer) : shape_(shape), buffer_(std::move(buffer)) {}
  MutableTensorView Rows(int64_t rows) override {
    int64_t dims[Shape::kMaxRank];
    std::copy(shape_.dims().begin(), shape_.dims().end(), dims);
    dims[0] = rows;
    return {buffer_.data(), kActivationDType, Shape(absl::MakeConstSpan(dims, shape_.rank()))};
  }

 private:
  Shape shape_;
  DeviceBuffer buffer_;
};

// Every kernel must have machine code for the device: a launch would only fail in the first step.
absl::Status CheckKernels(const DeviceInfo& info) {
  const cudaError_t error = FindKernels();
  if (error != cudaErrorNoKernelImageForDevice) return ToStatus(error, "cudaFuncGetAttributes");
  return absl::FailedPreconditionError(absl::StrCat(
      "this build has no kernels for ", info.name,
      "; rebuild with its architecture in CMAKE_CUDA_ARCHITECTURES (8.0 is the least) or use "
      "--device=cpu"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> CudaBackend::Create(const CudaOptions& options) {
  ASSIGN_OR_RETURN(DeviceInfo info, QueryDevice(options.device));
  auto backend = std::unique_ptr<CudaBackend>(new CudaBackend(options.device, std::move(info)));
  RETURN_IF_ERROR(backend->UseDevice());
  RETURN_IF_ERROR(CheckKernels(backend->info_));
  CUDA_RETURN_IF_ERROR(cudaStreamCreateWithFlags(&backend->stream_, cudaStreamNonBlocking));
  ASSIGN_OR_RETURN(backend->linear_, LinearRunner::Create(backend->stream_));
  return backend;
}

CudaBackend::~CudaBackend() {
  linear_.reset();
  // Fails only after an error that a call has reported.
  if (stream_ != nullptr) static_cast<void>(cudaStreamDestroy(stream_));
}

absl::Status CudaBackend::UseDevice() const {
  CUDA_RETURN_IF_ERROR(cudaSetDevice(device_));
  return absl::OkStatus();
}

absl::StatusOr<WeightPtr> CudaBackend::DoPack(const WeightSource& source) {
  RETURN_IF_ERROR(UseDevice());
  ASSIGN_OR_RETURN(WeightPtr weight, CudaWeight::Create(stream_, source));
  if (weight->shape().rank() == 2) linear_->Expect(AsCuda(*weight));
  return weight;
}

absl::StatusOr<std::unique_ptr<DeviceTensor>> CudaBackend::DoNewTensor(const Shape& shape) {
  RETURN_IF_ERROR(UseDevice());
  const int64_t bytes = RowBytes(kActivationDType, shape.elements());
  ASSIGN_OR_RETURN(DeviceBuffer buffer, DeviceBuffer::Create(bytes));
  CUDA_RETURN_IF_ERROR(cudaMemsetAsync(buffer.data(), 0, static_cast<size_t>(bytes), stream_));
  return std::make_unique<CudaTensor>(shape, std::move(buffer));
}

absl::Status CudaBackend::DoPrepare(const StepLimits& limits) {
  RETURN_IF_ERROR(UseDevice());
  RETURN_IF_ERROR(experts_.Reserve(limits.max_tokens));
  // Its size depends on the weights alone: products are cut into tiles of tokens.
  return linear_->Reserve();
}

// No operation built so far reads the step on the device.
absl::Status CudaBackend::DoBegin(const RaggedBatch&) { return absl::OkStatus(); }

absl::Status CudaBackend::DoLinear(const LinearArgs& args) {
  RETURN_IF_ERROR(UseDevice());
  // Does nothing unless weights were packed after Prepare.
  RETURN_IF_ERROR(linear_->Reserve());
  return linear_->Run(args);
}

absl::Status CudaBackend::DoRoute(const RouteArgs& args) {
  if (args.score != ExpertScore::kSoftmax || args.bias != nullptr || args.groups.count > 1)
    return NotBuilt("Route by sigmoid, bias or groups");
  RETURN_IF_ERROR(UseDevice());
  return experts_.Route(stream_, args);
}

absl::Status CudaBackend::DoGatherRows(const GatherRowsArgs& args) {
  RETURN_IF_ERROR(UseDevice());
  return experts_.GatherRows(stream_, args);
}

absl::Status CudaBackend::DoCombineRows(const CombineRowsArgs& args) {
  RETURN_IF_ERROR(UseDevice());
  return experts_.CombineRows(stream_, args);
}

absl::Status CudaBackend::DoRead(const TensorView& tensor, absl::Span<float> out) {
  RETURN_IF_ERROR(UseDevice());
  std::vector<uint16_t> bits(out.size());
  CUDA_RETURN_IF_ERROR(cudaMemcpyAsync(bits.data(), tensor.data, bits.size() * sizeof(uint16_t),
                                       cudaMemcpyDeviceToHost, stream_));
  CUDA_RETURN_IF_ERROR(cudaStreamSynchronize(stream_));
  std::transform(bits.begin(), bits.end(), out.begin(), Bf16ToFloat);
  return absl::OkStatus();
}

absl::Status CudaBackend::DoWrite(absl::Span<const float> values, const MutableTensorView& tensor) {
  RETURN_IF_ERROR(UseDevice());
  std::vector<uint16_t> bits(values.size());
  std::transform(values.begin(), values.end(), bits.begin(), FloatToBf16);
  CUDA_RETURN_IF_ERROR(cudaMemcpyAsync(tensor.data, bits.data(), bits.size() * sizeof(uint16_t),
                                       cudaMemcpyHostToDevice, stream_));
  // `bits` must live until the device has read it.
  CUDA_RETURN_IF_ERROR(cudaStreamSynchronize(stream_));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<KvStore>> CudaBackend::DoCreateKvStore(const KvLayout&, int) {
  return NotBuilt("CreateKvStore");
}
absl::Status CudaBackend::DoEmbedding(const EmbeddingArgs&) { return NotBuilt("Embedding"); }
absl::Status CudaBackend::DoNorm(const NormArgs&) { return NotBuilt("Norm"); }
absl::Status CudaBackend::DoPerHeadLinear(const PerHeadLinearArgs&) {
  return NotBuilt("PerHeadLinear");
}
absl::Status CudaBackend::DoGqaCacheWrite(const GqaCacheWriteArgs&) {
  return NotBuilt("GqaCacheWrite");
}
absl::Status CudaBackend::DoMlaCacheWrite(const MlaCacheWriteArgs&) {
  return NotBuilt("MlaCacheWrite");
}
absl::Status CudaBackend::DoGqaAttention(const GqaAttentionArgs&) {
  return NotBuilt("GqaAttention");
}
absl::Status CudaBackend::DoMlaAttention(const MlaAttentionArgs&) {
  return NotBuilt("MlaAttention");
}

absl::Status CudaBackend::DoMlaExpandedAttention(const MlaExpandedAttentionArgs&) {
  return NotBuilt("MlaExpandedAttention");
}
absl::Status CudaBackend::DoGatedActivation(const GatedActivationArgs&) {
  return NotBuilt("GatedActivation");
}
absl::StatusOr<absl::Span<const float>> CudaBackend::DoFinish(const LogitsArgs&) {
  return NotBuilt("Finish");
}
absl::Status CudaBackend::DoCopyPages(KvStore*, absl::Span<const std::pair<PageId, PageId>>) {
  return NotBuilt("CopyPages");
}

}  // namespace cuda
}  // namespace transmla
