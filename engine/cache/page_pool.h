// PagePool hands out the pages of one model's cache and counts their users.
//
// It knows page numbers only: the bytes live in the backend's KvStore, and which sequence uses a
// page is the caller's business. A page with several users is read-only for all of them.
//
// Thread-compatible: the engine thread is its only user. Allocates at construction, never after.
#ifndef TRANSMLA_ENGINE_CACHE_PAGE_POOL_H_
#define TRANSMLA_ENGINE_CACHE_PAGE_POOL_H_

#include <vector>

#include "absl/status/status.h"

#include "engine/base/page.h"

namespace transmla {

class PagePool {
 public:
  // REQUIRES: pages >= 0.
  explicit PagePool(int pages);

  int total_pages() const { return static_cast<int>(users_.size()); }
  int free_pages() const { return static_cast<int>(free_.size()); }
  int used_pages() const { return total_pages() - free_pages(); }

  // Appends `count` free pages with one user each to `pages`, all or none.
  // Returns ResourceExhausted, and changes nothing, if fewer are free; the caller then preempts or
  // waits. REQUIRES: count >= 0. O(count).
  absl::Status Take(int count, std::vector<PageId>& pages);

  // Adds a user. REQUIRES: the page has one.
  void Share(PageId page);
  // Removes a user; without users the page is free again. REQUIRES: the page has one.
  void Return(PageId page);
  // 0 for a free page.
  int users(PageId page) const;

 private:
  std::vector<PageId> free_;  // a stack: the page returned last is warm in the processor's caches
  std::vector<int> users_;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CACHE_PAGE_POOL_H_
