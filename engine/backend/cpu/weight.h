// CpuWeight: a weight in the checkpoint's own bytes, usually still in its mapped file.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_WEIGHT_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_WEIGHT_H_

#include <memory>

#include "absl/status/statusor.h"

#include "engine/backend/packed_weight.h"

namespace transmla::cpu {

class CpuWeight : public PackedWeight {
 public:
  // Vectors become F32; other roles keep their bytes, copied only if `source` has no owner.
  // InvalidArgument for rows too long for the backend's workspace.
  static absl::StatusOr<WeightPtr> Create(const WeightSource& source);

  const Shape& shape() const override { return view_.shape; }
  DType dtype() const override { return view_.dtype; }
  int64_t bytes() const override { return view_.bytes(); }

  const std::byte* data() const { return static_cast<const std::byte*>(view_.data); }
  int64_t row_bytes() const { return row_bytes_; }
  // REQUIRES: a vector.
  const float* vector() const { return view_.as<float>(); }

 private:
  CpuWeight(const TensorView& view, std::shared_ptr<const void> owner)
      : view_(view),
        owner_(std::move(owner)),
        row_bytes_(RowBytes(view.dtype, view.shape.cols())) {}

  TensorView view_;
  std::shared_ptr<const void> owner_;
  int64_t row_bytes_;
};

// REQUIRES: `weight` was packed by the CPU backend.
inline const CpuWeight& AsCpu(const PackedWeight& weight) {
  return static_cast<const CpuWeight&>(weight);
}

}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_WEIGHT_H_
