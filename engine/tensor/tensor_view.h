// TensorView: where a tensor's bytes are, what they are and their shape. It owns nothing and knows
// no device.
#ifndef TRANSMLA_ENGINE_TENSOR_TENSOR_VIEW_H_
#define TRANSMLA_ENGINE_TENSOR_TENSOR_VIEW_H_

#include <cstdint>

#include "engine/tensor/dtype.h"
#include "engine/tensor/shape.h"

namespace transmla {

// Read-only, row-major and dense. Whoever made it says how long the bytes live and on which device
// they are.
struct TensorView {
  const void* data = nullptr;
  DType dtype = DType::kF32;
  Shape shape;

  int64_t bytes() const { return shape.rows() * RowBytes(dtype, shape.cols()); }
  template <typename T>
  const T* as() const {
    return static_cast<const T*>(data);
  }
};

// As TensorView, for results.
struct MutableTensorView {
  void* data = nullptr;
  DType dtype = DType::kF32;
  Shape shape;

  int64_t bytes() const { return shape.rows() * RowBytes(dtype, shape.cols()); }
  template <typename T>
  T* as() const {
    return static_cast<T*>(data);
  }
  operator TensorView() const {
    return {data, dtype, shape};
  }  // NOLINT(google-explicit-constructor)
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_TENSOR_TENSOR_VIEW_H_
