#include "engine/backend/cpu/panel_memory.h"

#include <algorithm>
#include <utility>

#include "engine/base/checked_math.h"
#include "engine/base/status.h"

namespace transmla::cpu {
namespace {

// Address space of an arena, of which only what is touched takes memory.
constexpr int64_t kArenaBytes = int64_t{256} << 20;
constexpr int64_t kAlignment = 64;

}  // namespace

absl::StatusOr<std::shared_ptr<std::byte>> PanelMemory::Take(int64_t bytes) {
  const int64_t needed = CeilDiv(bytes, kAlignment) * kAlignment;
  if (arena_ == nullptr || arena_->size() - used_ < needed) {
    ASSIGN_OR_RETURN(Arena arena, Arena::Create(std::max(needed, kArenaBytes)));
    arena_ = std::make_shared<Arena>(std::move(arena));
    used_ = 0;
  }
  std::byte* const data = arena_->data() + used_;
  used_ += needed;
  return std::shared_ptr<std::byte>(arena_, data);
}

}  // namespace transmla::cpu
