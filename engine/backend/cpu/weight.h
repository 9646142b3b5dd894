// CpuWeight: a weight in the checkpoint's own bytes, usually still in its mapped file, or in panels
// (panel_format.h).
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_WEIGHT_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_WEIGHT_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/statusor.h"

#include "engine/backend/cpu/kernel_choice.h"
#include "engine/backend/cpu/panel_kernels.h"
#include "engine/backend/cpu/panel_memory.h"
#include "engine/backend/packed_weight.h"
#include "engine/base/thread_pool.h"

namespace transmla::cpu {

class CpuWeight : public PackedWeight {
 public:
  // How matrices become panels.
  struct Packing {
    ThreadPool& packers;
    PanelMemory& memory;
    PanelDotChoice& dots;
  };

  // Vectors become F32. Matrices that products read become panels if their type has any; with no
  // packing, they too stay as they are. Others keep their bytes, copied only if `source` has no
  // owner. InvalidArgument for rows too long for the backend's workspace, ResourceExhausted if
  // panels find no memory.
  static absl::StatusOr<WeightPtr> Create(const WeightSource& source,
                                          std::optional<Packing> packing);

  const Shape& shape() const override { return view_.shape; }
  DType dtype() const override { return view_.dtype; }
  int64_t bytes() const override { return panels_ ? panel_bytes_ : view_.bytes(); }
  bool refers_to_source() const override { return refers_to_source_; }

  // Null, or the matrix in panels, and then there is no data().
  const uint8_t* panels() const { return reinterpret_cast<const uint8_t*>(panels_.get()); }
  // How to multiply by it. REQUIRES: panels().
  PanelDot panel_dot() const { return panel_dot_; }
  const std::byte* data() const { return static_cast<const std::byte*>(view_.data); }
  int64_t row_bytes() const { return row_bytes_; }
  // REQUIRES: a vector.
  const float* vector() const { return view_.as<float>(); }

 private:
  CpuWeight(const TensorView& view, std::shared_ptr<const void> owner, bool refers_to_source)
      : view_(view),
        owner_(std::move(owner)),
        refers_to_source_(refers_to_source),
        row_bytes_(RowBytes(view.dtype, view.shape.cols())) {}

  static absl::StatusOr<WeightPtr> CreatePanels(const TensorView& source, const Packing& packing);

  TensorView view_;
  std::shared_ptr<const void> owner_;
  bool refers_to_source_;
  std::shared_ptr<const std::byte> panels_;
  int64_t panel_bytes_ = 0;
  PanelDot panel_dot_ = nullptr;
  int64_t row_bytes_;
};

// REQUIRES: `weight` was packed by the CPU backend.
inline const CpuWeight& AsCpu(const PackedWeight& weight) {
  return static_cast<const CpuWeight&>(weight);
}

}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_WEIGHT_H_
