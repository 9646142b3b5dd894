#include "engine/cache/block_table.h"

#include <algorithm>

namespace transmla {

absl::Status BlockTable::Grow(PagePool& pool, int tokens) {
  const int missing = PagesFor(tokens) - static_cast<int>(pages_.size());
  return pool.Take(std::max(missing, 0), pages_);
}

void BlockTable::Release(PagePool& pool) {
  for (const PageId page : pages_) pool.Return(page);
  pages_.clear();
}

}  // namespace transmla
