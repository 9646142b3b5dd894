// CpuKvStore: pages of cache in one arena.
//
// A page's bytes are together, layer by layer, so that copying a page is one copy. A layer's part
// is [kPageTokens, first_dim], then [kPageTokens, second_dim] for GQA; and [kPageTokens, first_dim
// + second_dim] for MLA, whose scores read latent and rope key as one row. Only I8 keeps latents
// and rope keys apart, as they differ in type; its scales, [kPageTokens, groups], follow the rows.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_CPU_KV_STORE_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_CPU_KV_STORE_H_

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include "engine/backend/cpu/arena.h"
#include "engine/backend/kv_store.h"
#include "engine/base/checked_math.h"

namespace transmla::cpu {

// Rows of one type within a layer's part of a page, one row a token. Offsets are in bytes from the
// begin of that part; all are multiples of kPageTokens, so that every type is aligned.
struct CacheRows {
  DType dtype = DType::kF32;  // F32, F16, BF16 or I8
  int64_t dim = 0;            // values a token
  int64_t offset = 0;
  int group = 0;              // I8: values a scale
  int64_t scales_offset = 0;  // I8: of [kPageTokens, groups()] floats

  int64_t row_bytes() const { return RowBytes(dtype, dim); }
  int64_t groups() const { return CeilDiv<int64_t>(dim, group); }
};

class CpuKvStore : public KvStore {
 public:
  // ResourceExhausted, naming both sizes, if the machine's memory does not hold the pages.
  static absl::StatusOr<std::unique_ptr<CpuKvStore>> Create(const KvLayout& layout, int pages);

  const KvLayout& layout() const override { return layout_; }
  int pages() const override { return pages_; }
  absl::Status ReadPage(PageId page, absl::Span<std::byte> bytes) const override;
  absl::Status WritePage(PageId page, absl::Span<const std::byte> bytes) override;

  // What holds a row of keys, in order: for MLA of I8 two parts, latent and rope key; else one.
  absl::Span<const CacheRows> keys() const { return keys_; }
  // GQA: values. MLA has none: they are the first first_dim columns of the keys.
  const CacheRows& values() const { return values_; }

  // The part of a layer in a page. REQUIRES: page and layer are in range.
  std::byte* At(PageId page, int layer) {
    return arena_.data() + (int64_t{page} * layout_.num_layers + layer) * layer_bytes_;
  }
  const std::byte* At(PageId page, int layer) const {
    return const_cast<CpuKvStore*>(this)->At(page, layer);
  }

 private:
  CpuKvStore(const KvLayout& layout, int pages, Arena arena);

  KvLayout layout_;
  int pages_;
  int64_t layer_bytes_ = 0;
  std::vector<CacheRows> keys_;
  CacheRows values_;
  Arena arena_;
};

// Writes the values of one token, [rows.dim], into its row, `slot` of a layer's part of a page.
void StoreRow(const CacheRows& rows, const float* values, std::byte* page, int slot);

}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_CPU_KV_STORE_H_
