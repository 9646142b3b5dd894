#include "engine/cache/page_pool.h"

#include "absl/strings/str_cat.h"

#include "engine/base/check.h"

namespace transmla {

PagePool::PagePool(int pages) : pages_(pages), index_(pages) {
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
    PageId page = oldest_;
    if (!free_.empty()) {
      page = free_.back();
      free_.pop_back();
    } else {
      Unlink(page);
      index_.Forget(page);
    }
    CHECK_EQ(pages_[page].users, 0);
    pages_[page].users = 1;
    pages.push_back(page);
  }
  return absl::OkStatus();
}

void PagePool::Share(PageId page) {
  if (users(page) == 0) {
    CHECK(index_.Has(page));
    Unlink(page);
  }
  if (++pages_[page].users == 2) ++shared_;
}

void PagePool::Return(PageId page) {
  CHECK_GT(users(page), 0);
  if (--pages_[page].users == 1) --shared_;
  if (pages_[page].users > 0) return;
  if (index_.Has(page)) {
    Keep(page);
  } else {
    free_.push_back(page);
  }
}

int PagePool::users(PageId page) const {
  CHECK_GE(page, 0);
  CHECK_LT(page, total_pages());
  return pages_[page].users;
}

void PagePool::Keep(PageId page) {
  pages_[page].older = newest_;
  pages_[page].newer = kNone;
  (newest_ == kNone ? oldest_ : pages_[newest_].newer) = page;
  newest_ = page;
  ++kept_;
}

void PagePool::Unlink(PageId page) {
  const Page& links = pages_[page];
  (links.older == kNone ? oldest_ : pages_[links.older].newer) = links.newer;
  (links.newer == kNone ? newest_ : pages_[links.newer].older) = links.older;
  --kept_;
}

}  // namespace transmla
