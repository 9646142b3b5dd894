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
  if (latest_ == nullptr || latest_->size() - pieces_.back().used < needed) {
    ASSIGN_OR_RETURN(Arena arena,
                     Arena::Create(std::max(needed, kArenaBytes), /*huge_pages=*/false));
    latest_ = std::make_shared<Arena>(std::move(arena));
    pieces_.push_back({latest_, 0});
  }
  int64_t& used = pieces_.back().used;
  std::byte* const data = latest_->data() + used;
  used += needed;
  return std::shared_ptr<std::byte>(latest_, data);
}

std::vector<PanelMemory::Part> PanelMemory::Taken() const {
  std::vector<Part> parts;
  for (const Piece& piece : pieces_) {
    if (std::shared_ptr<Arena> arena = piece.arena.lock()) parts.push_back({arena, piece.used});
  }
  return parts;
}

}  // namespace transmla::cpu
