// PanelMemory: memory of weights in panels, cut from few large arenas. Most weights are smaller
// than a huge page; each in an arena of its own would get none, and a step reads all of them once,
// so that their address translations would not stay in the processor.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_PANEL_MEMORY_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_PANEL_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"

#include "engine/backend/cpu/arena.h"

namespace transmla::cpu {

// Thread-compatible.
class PanelMemory {
 public:
  // `bytes` zeros at a multiple of 64; the arena that they lie in goes when the last part of it
  // that was taken does. ResourceExhausted as Arena::Create. REQUIRES: bytes > 0.
  absl::StatusOr<std::shared_ptr<std::byte>> Take(int64_t bytes);

 private:
  std::shared_ptr<Arena> arena_;  // the latest
  int64_t used_ = 0;              // bytes of it
};

}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_PANEL_MEMORY_H_
