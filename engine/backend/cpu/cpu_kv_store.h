// CpuKvStore: pages of cache in one arena.
//
// A page's bytes are together, layer by layer, so that copying a page is one copy. A layer's part
// is [kPageTokens, first_dim], then [kPageTokens, second_dim] for GQA; and [kPageTokens, first_dim
// + second_dim] for MLA, whose scores read latent and rope key as one row.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_CPU_KV_STORE_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_CPU_KV_STORE_H_

#include <memory>

#include "absl/status/statusor.h"

#include "engine/backend/cpu/arena.h"
#include "engine/backend/kv_store.h"

namespace transmla::cpu {

class CpuKvStore : public KvStore {
 public:
  // ResourceExhausted, naming both sizes, if the machine's memory does not hold the pages.
  static absl::StatusOr<std::unique_ptr<CpuKvStore>> Create(const KvLayout& layout, int pages);

  const KvLayout& layout() const override { return layout_; }
  int pages() const override { return pages_; }

  // The part of a layer in a page. REQUIRES: page and layer are in range.
  std::byte* At(PageId page, int layer) {
    return arena_.data() + (int64_t{page} * layout_.num_layers + layer) * layer_bytes_;
  }
  const std::byte* At(PageId page, int layer) const {
    return const_cast<CpuKvStore*>(this)->At(page, layer);
  }

 private:
  CpuKvStore(const KvLayout& layout, int pages, Arena arena)
      : layout_(layout),
        pages_(pages),
        layer_bytes_(layout.BytesPerPage() / layout.num_layers),
        arena_(std::move(arena)) {}

  KvLayout layout_;
  int pages_;
  int64_t layer_bytes_;
  Arena arena_;
};

}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_CPU_KV_STORE_H_
