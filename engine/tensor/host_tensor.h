// HostTensor owns a dense row-major tensor in this process's memory, aligned for vector loads.
#ifndef TRANSMLA_ENGINE_TENSOR_HOST_TENSOR_H_
#define TRANSMLA_ENGINE_TENSOR_HOST_TENSOR_H_

#include "engine/base/aligned_buffer.h"
#include "engine/tensor/tensor_view.h"

namespace transmla {

// Movable, not copyable. Contents are not initialised.
class HostTensor {
 public:
  HostTensor() = default;
  // REQUIRES: the last dimension is a multiple of the type's block.
  HostTensor(DType dtype, const Shape& shape)
      : dtype_(dtype), shape_(shape), buffer_(shape.rows() * RowBytes(dtype, shape.cols())) {}

  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  TensorView view() const { return {buffer_.data(), dtype_, shape_}; }
  MutableTensorView mutable_view() { return {buffer_.data(), dtype_, shape_}; }

  template <typename T>
  T* as() {
    return buffer_.as<T>();
  }
  template <typename T>
  const T* as() const {
    return buffer_.as<T>();
  }

 private:
  DType dtype_ = DType::kF32;
  Shape shape_;
  AlignedBuffer buffer_;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_TENSOR_HOST_TENSOR_H_
