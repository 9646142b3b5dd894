#include "engine/cache/page_pool.h"

#include "absl/strings/str_cat.h"

#include "engine/base/check.h"

namespace transmla {

PagePool::PagePool(int pages, PageStore* store)
    : total_pages_(pages),
      store_(store),
      places_(pages + (store == nullptr ? 0 : store->slots())),
      index_(static_cast<int>(places_.size())) {
  free_.reserve(pages);
  for (PageId page = pages - 1; page >= 0; --page) free_.push_back(page);
  for (Place slot = static_cast<Place>(places_.size()) - 1; slot >= pages; --slot) {
    free_slots_.push_back(slot);
  }
}

absl::Status PagePool::Take(int count, std::vector<PageId>& pages) {
  CHECK_GE(count, 0);
  if (count > free_pages()) {
    return absl::ResourceExhaustedError(
        absl::StrCat(count, " cache pages wanted, ", free_pages(), " of ", total_pages(), " free"));
  }
  for (int i = 0; i < count; ++i) {
    PageId page = kept_.oldest;
    if (!free_.empty()) {
      page = free_.back();
      free_.pop_back();
    } else {
      Unlink(kept_, page);
      Evict(page);
    }
    CHECK_EQ(places_[page].users, 0);
    places_[page].users = 1;
    pages.push_back(page);
  }
  return absl::OkStatus();
}

void PagePool::Evict(PageId page) {
  if (const Place slot = FreeSlot(); slot != kNone) {
    if (store_->Save(page, slot - total_pages_)) {
      index_.Move(page, slot);
      Append(stored_, slot);
      return;
    }
    free_slots_.push_back(slot);
  }
  index_.Forget(page);
}

PagePool::Place PagePool::FreeSlot() {
  if (!free_slots_.empty()) {
    const Place slot = free_slots_.back();
    free_slots_.pop_back();
    return slot;
  }
  const Place slot = stored_.oldest;
  if (slot == kNone) return kNone;
  Unlink(stored_, slot);
  index_.Forget(slot);
  return slot;
}

std::optional<PageId> PagePool::Restore(const PrefixIndex::Entry& entry) {
  CHECK(!InPage(entry));
  if (index_.IdAt(entry.place) != entry.id) return std::nullopt;
  // Out of the list first: the page may be one whose contents go to a slot themselves.
  Unlink(stored_, entry.place);
  std::vector<PageId> page;
  CHECK_OK(Take(1, page));
  const bool good = store_->Load(entry.place - total_pages_, page[0]);
  if (good) {
    index_.Move(entry.place, page[0]);
  } else {
    index_.Forget(entry.place);
    Return(page[0]);
  }
  free_slots_.push_back(entry.place);
  return good ? std::make_optional(page[0]) : std::nullopt;
}

void PagePool::Reclaim(const PrefixIndex::Entry& entry, PageId page) {
  CHECK(!InPage(entry));
  Unlink(stored_, entry.place);
  index_.Move(entry.place, page);
  free_slots_.push_back(entry.place);
}

void PagePool::Share(PageId page) {
  if (users(page) == 0) {
    CHECK(index_.Has(page));
    Unlink(kept_, page);
  }
  if (++places_[page].users == 2) ++shared_;
}

void PagePool::Return(PageId page) {
  CHECK_GT(users(page), 0);
  if (--places_[page].users == 1) --shared_;
  if (places_[page].users > 0) return;
  if (index_.Has(page)) {
    Append(kept_, page);
  } else {
    free_.push_back(page);
  }
}

int PagePool::users(PageId page) const {
  CHECK_GE(page, 0);
  CHECK_LT(page, total_pages());
  return places_[page].users;
}

void PagePool::Append(List& list, Place place) {
  places_[place].older = list.newest;
  places_[place].newer = kNone;
  (list.newest == kNone ? list.oldest : places_[list.newest].newer) = place;
  list.newest = place;
  ++list.size;
}

void PagePool::Unlink(List& list, Place place) {
  const PlaceData& links = places_[place];
  (links.older == kNone ? list.oldest : places_[links.older].newer) = links.newer;
  (links.newer == kNone ? list.newest : places_[links.newer].older) = links.older;
  --list.size;
}

}  // namespace transmla
