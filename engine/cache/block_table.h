// BlockTable: the pages of one sequence, in the order of its positions.
#ifndef TRANSMLA_ENGINE_CACHE_BLOCK_TABLE_H_
#define TRANSMLA_ENGINE_CACHE_BLOCK_TABLE_H_

#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"

#include "engine/base/checked_math.h"
#include "engine/base/page.h"
#include "engine/cache/page_pool.h"

namespace transmla {

// Thread-compatible. Does not own its pool; Release must be called before it is destroyed with
// pages.
class BlockTable {
 public:
  absl::Span<const PageId> pages() const { return pages_; }

  // Pages that `tokens` positions need.
  static int PagesFor(int tokens) { return CeilDiv(tokens, kPageTokens); }

  // Takes pages until `tokens` positions fit; nothing if they do already.
  // Returns ResourceExhausted, and changes nothing, if too few are free.
  absl::Status Grow(PagePool& pool, int tokens);
  // Appends a page that this table is counted as a user of already.
  void Adopt(PageId page) { pages_.push_back(page); }
  // Uses `page`, which holds the same as the page at `index`, in place of that one.
  void Replace(PagePool& pool, int index, PageId page);
  // Returns all pages, the last first: of those that are kept, a page is then never older than the
  // pages after it, without which it is of use, but not they without it.
  void Release(PagePool& pool);

 private:
  std::vector<PageId> pages_;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CACHE_BLOCK_TABLE_H_
