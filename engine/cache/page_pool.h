// PagePool hands out the pages of one model's cache and counts their users.
//
// It knows page numbers only: the bytes live in the backend's KvStore, and which sequence uses a
// page is the caller's business. A page with several users is read-only for all of them.
//
// A page in the prefix index keeps its contents when its last user is gone: it counts as free, is
// handed out again only when no other page is left (the one unused longest first), and until then
// may be shared again. With a store, its contents then go to a slot there, and stay in the index
// until the slot is needed for others (the one filled first).
//
// Thread-compatible: the engine thread is its only user. Allocates at construction, never after.
#ifndef TRANSMLA_ENGINE_CACHE_PAGE_POOL_H_
#define TRANSMLA_ENGINE_CACHE_PAGE_POOL_H_

#include <optional>
#include <vector>

#include "absl/status/status.h"

#include "engine/base/page.h"
#include "engine/cache/page_store.h"
#include "engine/cache/prefix_index.h"

namespace transmla {

class PagePool {
 public:
  // REQUIRES: pages >= 0. `store` may be null; it must outlive the pool.
  explicit PagePool(int pages, PageStore* store = nullptr);

  int total_pages() const { return total_pages_; }
  // Without users, kept ones included.
  int free_pages() const { return static_cast<int>(free_.size()) + kept_.size; }
  int used_pages() const { return total_pages() - free_pages(); }
  // With several users.
  int shared_pages() const { return shared_; }
  // Without users, but with contents that the index finds.
  int kept_pages() const { return kept_.size; }

  // Appends `count` free pages with one user each to `pages`, all or none. The index forgets them.
  // Returns ResourceExhausted, and changes nothing, if fewer are free; the caller then preempts or
  // waits. REQUIRES: count >= 0. O(count).
  absl::Status Take(int count, std::vector<PageId>& pages);

  // Adds a user. REQUIRES: the page has one, or is in the index.
  void Share(PageId page);
  // Whether an entry of the index is in a page, not in the store.
  bool InPage(const PrefixIndex::Entry& entry) const { return entry.place < total_pages_; }
  // Brings the contents of an entry back from the store, to a page with one user. Nothing if the
  // entry is gone meanwhile, or if the store has lost it; then it is forgotten. REQUIRES: not
  // InPage, and a free page.
  std::optional<PageId> Restore(const PrefixIndex::Entry& entry);
  // `page`, which has a user and is not in the index, holds what the entry stands for: it need not
  // be in the store any more. REQUIRES: not InPage.
  void Reclaim(const PrefixIndex::Entry& entry, PageId page);
  // Entries in the store.
  int stored() const { return stored_.size; }

  // Removes a user; without users the page is free again. REQUIRES: the page has one.
  void Return(PageId page);
  // 0 for a free page.
  int users(PageId page) const;

  // What the pages hold. Only a page with a user may be added.
  PrefixIndex& index() { return index_; }
  const PrefixIndex& index() const { return index_; }

 private:
  using Place = PrefixIndex::Place;
  static constexpr Place kNone = -1;
  struct PlaceData {
    int users = 0;  // of a page
    // Neighbours in the list that it is in, if it is.
    Place older = kNone;
    Place newer = kNone;
  };
  struct List {
    Place oldest = kNone;
    Place newest = kNone;
    int size = 0;
  };
  void Append(List& list, Place place);
  void Unlink(List& list, Place place);
  // Saves the contents of a page if there is a store; the index forgets the page.
  void Evict(PageId page);
  Place FreeSlot();

  const int total_pages_;
  PageStore* const store_;
  std::vector<PageId> free_;  // a stack: the page returned last is warm in the processor's caches
  std::vector<Place> free_slots_;
  std::vector<PlaceData> places_;  // pages, then slots
  List kept_;                      // pages without users, by when their last user left
  List stored_;                    // slots with contents, by when they were filled
  int shared_ = 0;
  PrefixIndex index_;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CACHE_PAGE_POOL_H_
