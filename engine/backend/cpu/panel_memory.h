// PanelMemory: memory of weights in panels, cut from few large arenas. Most weights are smaller
// than a huge page; each in an arena of its own could get none (huge_pages.h).
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_PANEL_MEMORY_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_PANEL_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"

#include "engine/backend/cpu/arena.h"

namespace transmla::cpu {

// Thread-compatible.
class PanelMemory {
 public:
  // `bytes` zeros at a multiple of 64; the arena that they lie in goes when the last part of it
  // that was taken does. ResourceExhausted as Arena::Create. REQUIRES: bytes > 0.
  absl::StatusOr<std::shared_ptr<std::byte>> Take(int64_t bytes);

  // The first `used` bytes of an arena.
  struct Part {
    std::shared_ptr<Arena> arena;
    int64_t used = 0;
  };
  // All that was taken and is not yet gone.
  std::vector<Part> Taken() const;

 private:
  struct Piece {
    std::weak_ptr<Arena> arena;
    int64_t used = 0;
  };
  std::vector<Piece> pieces_;
  std::shared_ptr<Arena> latest_;  // the last piece's
};

}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_PANEL_MEMORY_H_
