// PagePool hands out the pages of one model's cache and counts their users.
//
// It knows page numbers only: the bytes live in the backend's KvStore, and which sequence uses a
// page is the caller's business. A page with several users is read-only for all of them.
//
// A page in the prefix index keeps its contents when its last user is gone: it counts as free, is
// handed out again only when no other page is left (the one unused longest first), and until then
// may be shared again.
//
// Thread-compatible: the engine thread is its only user. Allocates at construction, never after.
#ifndef TRANSMLA_ENGINE_CACHE_PAGE_POOL_H_
#define TRANSMLA_ENGINE_CACHE_PAGE_POOL_H_

#include <vector>

#include "absl/status/status.h"

#include "engine/base/page.h"
#include "engine/cache/prefix_index.h"

namespace transmla {

class PagePool {
 public:
  // REQUIRES: pages >= 0.
  explicit PagePool(int pages);

  int total_pages() const { return static_cast<int>(pages_.size()); }
  // Without users, kept ones included.
  int free_pages() const { return static_cast<int>(free_.size()) + kept_; }
  int used_pages() const { return total_pages() - free_pages(); }
  // With several users.
  int shared_pages() const { return shared_; }
  // Without users, but with contents that the index finds.
  int kept_pages() const { return kept_; }

  // Appends `count` free pages with one user each to `pages`, all or none. The index forgets them.
  // Returns ResourceExhausted, and changes nothing, if fewer are free; the caller then preempts or
  // waits. REQUIRES: count >= 0. O(count).
  absl::Status Take(int count, std::vector<PageId>& pages);

  // Adds a user. REQUIRES: the page has one, or is in the index.
  void Share(PageId page);
  // Removes a user; without users the page is free again. REQUIRES: the page has one.
  void Return(PageId page);
  // 0 for a free page.
  int users(PageId page) const;

  // What the pages hold. Only a page with a user may be added.
  PrefixIndex& index() { return index_; }
  const PrefixIndex& index() const { return index_; }

 private:
  static constexpr PageId kNone = -1;
  struct Page {
    int users = 0;
    // Neighbours among the kept pages, of which this is one.
    PageId older = kNone;
    PageId newer = kNone;
  };
  void Keep(PageId page);
  void Unlink(PageId page);

  std::vector<PageId> free_;  // a stack: the page returned last is warm in the processor's caches
  std::vector<Page> pages_;
  PageId oldest_ = kNone;  // of the kept pages
  PageId newest_ = kNone;
  int kept_ = 0;
  int shared_ = 0;
  PrefixIndex index_;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CACHE_PAGE_POOL_H_
