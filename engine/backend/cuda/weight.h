// CudaWeight: a weight in device memory, in the checkpoint's own type.
#ifndef TRANSMLA_ENGINE_BACKEND_CUDA_WEIGHT_H_
#define TRANSMLA_ENGINE_BACKEND_CUDA_WEIGHT_H_

#include <utility>

#include "absl/status/statusor.h"
#include <cuda_runtime_api.h>

#include "engine/backend/cuda/device_buffer.h"
#include "engine/backend/packed_weight.h"

namespace transmla::cuda {

class CudaWeight : public PackedWeight {
 public:
  // Copies to the current device and waits. Vectors become F32, F32, F16 and BF16 matrices keep
  // their bytes. Unimplemented for matrices of a quantised type: no kernel reads their blocks yet,
  // and widening them would take four times the memory that the checkpoint promises.
  static absl::StatusOr<WeightPtr> Create(cudaStream_t stream, const WeightSource& source);

  const Shape& shape() const override { return shape_; }
  DType dtype() const override { return dtype_; }
  int64_t bytes() const override { return buffer_.size(); }
  bool refers_to_source() const override { return false; }

  template <typename T>
  const T* as() const {
    return buffer_.as<T>();
  }

 private:
  CudaWeight(const TensorView& view, DeviceBuffer buffer)
      : shape_(view.shape), dtype_(view.dtype), buffer_(std::move(buffer)) {}

  Shape shape_;
  DType dtype_;
  DeviceBuffer buffer_;
};

// REQUIRES: `weight` was packed by the CUDA backend.
inline const CudaWeight& AsCuda(const PackedWeight& weight) {
  return static_cast<const CudaWeight&>(weight);
}

}  // namespace transmla::cuda

#endif  // TRANSMLA_ENGINE_BACKEND_CUDA_WEIGHT_H_
