#include "engine/cache/prefix_index.h"

#include <algorithm>

#include "absl/hash/hash.h"

#include "engine/base/check.h"

namespace transmla {

PrefixIndex::PrefixIndex(int pages) : nodes_(pages) {
  pages_.reserve(2 * static_cast<size_t>(pages));
}

uint64_t PrefixIndex::Key(PrefixId before, absl::Span<const int32_t> tokens) {
  CHECK_EQ(tokens.size(), size_t{kPageTokens});
  // Seeded anew in each process: nobody can prepare prompts whose hashes collide.
  return absl::HashOf(before, tokens);
}

std::optional<PrefixIndex::Entry> PrefixIndex::Find(PrefixId before,
                                                    absl::Span<const int32_t> tokens) const {
  const auto found = pages_.find(Key(before, tokens));
  if (found == pages_.end()) return std::nullopt;
  const Node& node = nodes_[found->second];
  if (node.before != before || !std::equal(tokens.begin(), tokens.end(), node.tokens.begin())) {
    return std::nullopt;
  }
  return Entry{.id = node.id, .page = found->second};
}

std::optional<PrefixId> PrefixIndex::Add(PrefixId before, absl::Span<const int32_t> tokens,
                                         PageId page) {
  CHECK(!Has(page));
  if (!pages_.emplace(Key(before, tokens), page).second) return std::nullopt;
  Node& node = nodes_[page];
  node.id = ++last_id_;
  node.before = before;
  std::copy(tokens.begin(), tokens.end(), node.tokens.begin());
  return node.id;
}

void PrefixIndex::Forget(PageId page) {
  Node& node = nodes_[page];
  if (node.id == kNoPrefix) return;
  pages_.erase(Key(node.before, node.tokens));
  node.id = kNoPrefix;
}

}  // namespace transmla
