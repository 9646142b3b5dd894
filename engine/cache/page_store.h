// PageStore keeps the contents of pages that were handed out again, in slots of its own: the seam
// between page arithmetic and whatever is larger and slower than the cache.
#ifndef TRANSMLA_ENGINE_CACHE_PAGE_STORE_H_
#define TRANSMLA_ENGINE_CACHE_PAGE_STORE_H_

#include "engine/base/page.h"

namespace transmla {

// Called by the engine's thread while it plans: both must be over when they return.
class PageStore {
 public:
  virtual ~PageStore() = default;
  virtual int slots() const = 0;
  // False if the contents could not be kept.
  virtual bool Save(PageId page, int slot) = 0;
  // False if the slot does not hold what was saved there any more; the page's contents are then
  // anything.
  virtual bool Load(int slot, PageId page) = 0;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CACHE_PAGE_STORE_H_
