#include "engine/cache/block_table.h"

#include <algorithm>
#include <utility>

namespace transmla {

absl::Status BlockTable::Grow(PagePool& pool, int tokens) {
  const int missing = PagesFor(tokens) - static_cast<int>(pages_.size());
  return pool.Take(std::max(missing, 0), pages_);
}

void BlockTable::Replace(PagePool& pool, int index, PageId page) {
  pool.Share(page);
  pool.Return(std::exchange(pages_[index], page));
}

void BlockTable::Release(PagePool& pool) {
  for (auto page = pages_.rbegin(); page != pages_.rend(); ++page) pool.Return(*page);
  pages_.clear();
}

}  // namespace transmla
