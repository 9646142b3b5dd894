#include "engine/cache/page_pool.h"

#include "absl/strings/str_cat.h"

#include "engine/base/check.h"

namespace transmla {

PagePool::PagePool(int pages) : users_(pages, 0) {
  free_.reserve(pages);
  for (PageId page = pages - 1; page >= 0; --page) free_.push_back(page);
}

absl::Status PagePool::Take(int count, std::vector<PageId>& pages) {
  CHECK_GE(count, 0);
  if (count > free_pages()) {
    return absl::ResourceExhaustedError(
        absl::StrCat(count, " cache pages wanted, ", free_pages(), " of ", total_pages(), " free"));
  }
  for (int i = 0; i < count; ++i) {
    const PageId page = free_.back();
    free_.pop_back();
    CHECK_EQ(users_[page], 0);
    users_[page] = 1;
    pages.push_back(page);
  }
  return absl::OkStatus();
}

void PagePool::Share(PageId page) {
  CHECK_GT(users(page), 0);
  ++users_[page];
}

void PagePool::Return(PageId page) {
  CHECK_GT(users(page), 0);
  if (--users_[page] == 0) free_.push_back(page);
}

int PagePool::users(PageId page) const {
  CHECK_GE(page, 0);
  CHECK_LT(page, total_pages());
  return users_[page];
}

}  // namespace transmla
