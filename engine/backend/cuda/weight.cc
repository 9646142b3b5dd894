#include "engine/backend/cuda/weight.h"

#include "absl/strings/str_cat.h"

#include "engine/backend/cuda/status.h"
#include "engine/tensor/block_formats.h"
#include "engine/tensor/host_tensor.h"

namespace transmla::cuda {

absl::StatusOr<WeightPtr> CudaWeight::Create(cudaStream_t stream, const WeightSource& source) {
  TensorView view = source.view;
  HostTensor widened;
  if (source.role == WeightRole::kVector) {
    widened = HostTensor(DType::kF32, view.shape);
    DequantizeRow(view.dtype, view.data,
                  absl::MakeSpan(widened.as<float>(), view.shape.elements()));
    view = widened.view();
  } else if (IsBlockQuantized(view.dtype)) {
    return absl::UnimplementedError(
        absl::StrCat("weights of type ", DTypeName(view.dtype),
                     " are not supported on CUDA yet, only f32, f16 and bf16; use --device=cpu"));
  }
  ASSIGN_OR_RETURN(DeviceBuffer buffer, DeviceBuffer::Create(view.bytes()));
  CUDA_RETURN_IF_ERROR(
      cudaMemcpyAsync(buffer.data(), view.data, view.bytes(), cudaMemcpyHostToDevice, stream));
  CUDA_RETURN_IF_ERROR(cudaStreamSynchronize(stream));
  return WeightPtr(new CudaWeight(view, std::move(buffer)));
}

}  // namespace transmla::cuda
