// PrefixIndex finds the pages that already hold the beginning of a sequence.
//
// Its entries form a forest: an entry stands for one full page, its kPageTokens tokens, and the
// entry of the page before it. So an entry is a whole prefix, and a sequence finds its pages one
// after the other, starting at kNoPrefix. A look-up compares the tokens themselves and the
// identity of the entry before, which is never used again: two prefixes with one hash are a miss,
// never wrong text.
//
// Thread-compatible. Knows numbers of places only.
#ifndef TRANSMLA_ENGINE_CACHE_PREFIX_INDEX_H_
#define TRANSMLA_ENGINE_CACHE_PREFIX_INDEX_H_

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"

#include "engine/base/page.h"

namespace transmla {

// Identity of an entry. Unique for the life of an index.
using PrefixId = uint64_t;
inline constexpr PrefixId kNoPrefix = 0;  // of the empty beginning

class PrefixIndex {
 public:
  // Where contents are: a page, or, behind all pages, a slot of the store that keeps contents of
  // pages that were handed out again.
  using Place = int32_t;

  // For places [0, places). REQUIRES: places >= 0. Allocates now, never after.
  explicit PrefixIndex(int places);

  struct Entry {
    PrefixId id = kNoPrefix;
    Place place = 0;
  };
  // The place that holds `tokens` after the prefix `before`. REQUIRES: kPageTokens tokens.
  std::optional<Entry> Find(PrefixId before, absl::Span<const int32_t> tokens) const;

  // Notes that `page` holds `tokens` after the prefix `before`, and returns the new entry's id;
  // nothing, and no entry, if another prefix with the same hash is there (one in 2^64).
  // REQUIRES: kPageTokens tokens, which Find does not find; no entry of `page`.
  std::optional<PrefixId> Add(PrefixId before, absl::Span<const int32_t> tokens, PageId page);

  // Forgets the entry of `place`, if there is one, before it is written again. Entries after
  // it are found no more; they stay until they are forgotten themselves.
  void Forget(Place place);
  // The contents of `from` are at `to` now. REQUIRES: an entry of `from`, none of `to`.
  void Move(Place from, Place to);

  bool Has(Place place) const { return nodes_[place].id != kNoPrefix; }
  // kNoPrefix if there is none.
  PrefixId IdAt(Place place) const { return nodes_[place].id; }
  int size() const { return static_cast<int>(places_.size()); }

 private:
  struct Node {
    PrefixId id = kNoPrefix;
    PrefixId before = kNoPrefix;
    std::array<int32_t, kPageTokens> tokens;
  };
  static uint64_t Key(PrefixId before, absl::Span<const int32_t> tokens);

  std::vector<Node> nodes_;  // by place
  absl::flat_hash_map<uint64_t, Place> places_;
  PrefixId last_id_ = kNoPrefix;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CACHE_PREFIX_INDEX_H_
