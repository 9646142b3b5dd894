#include "engine/cache/prefix_index.h"

#include <algorithm>

#include "absl/hash/hash.h"

#include "engine/base/check.h"

namespace transmla {

PrefixIndex::PrefixIndex(int places) : nodes_(places) {
  places_.reserve(2 * static_cast<size_t>(places));
}

uint64_t PrefixIndex::Key(PrefixId before, absl::Span<const int32_t> tokens) {
  CHECK_EQ(tokens.size(), size_t{kPageTokens});
  // Seeded anew in each process: nobody can prepare prompts whose hashes collide.
  return absl::HashOf(before, tokens);
}

std::optional<PrefixIndex::Entry> PrefixIndex::Find(PrefixId before,
                                                    absl::Span<const int32_t> tokens) const {
  const auto found = places_.find(Key(before, tokens));
  if (found == places_.end()) return std::nullopt;
  const Node& node = nodes_[found->second];
  if (node.before != before || !std::equal(tokens.begin(), tokens.end(), node.tokens.begin())) {
    return std::nullopt;
  }
  return Entry{.id = node.id, .place = found->second};
}

std::optional<PrefixId> PrefixIndex::Add(PrefixId before, absl::Span<const int32_t> tokens,
                                         PageId page) {
  CHECK(!Has(page));
  if (!places_.emplace(Key(before, tokens), page).second) return std::nullopt;
  Node& node = nodes_[page];
  node.id = ++last_id_;
  node.before = before;
  std::copy(tokens.begin(), tokens.end(), node.tokens.begin());
  return node.id;
}

void PrefixIndex::Forget(Place place) {
  Node& node = nodes_[place];
  if (node.id == kNoPrefix) return;
  places_.erase(Key(node.before, node.tokens));
  node.id = kNoPrefix;
}

void PrefixIndex::Move(Place from, Place to) {
  CHECK(Has(from));
  CHECK(!Has(to));
  nodes_[to] = nodes_[from];
  nodes_[from].id = kNoPrefix;
  places_.at(Key(nodes_[to].before, nodes_[to].tokens)) = to;
}

}  // namespace transmla
