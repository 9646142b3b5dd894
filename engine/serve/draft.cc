#include "engine/serve/draft.h"

#include <algorithm>

#include "absl/hash/hash.h"

namespace transmla {
namespace {

uint64_t KeyOf(absl::Span<const int32_t> tokens) { return absl::HashOf(tokens); }

}  // namespace

absl::Span<const int32_t> Draft::Guess(absl::Span<const int32_t> tokens, int most) {
  const int size = static_cast<int>(tokens.size());
  // What ends before the last token can be followed by something.
  for (int end = std::max(indexed_, 1); end < size; ++end) {
    for (int n = kShortest; n <= kLongest && n <= end; ++n) {
      ends_[n - kShortest][KeyOf(tokens.subspan(end - n, n))] = end;
    }
  }
  indexed_ = std::max(indexed_, size);
  for (int n = kLongest; n >= kShortest; --n) {
    if (n >= size) continue;
    const auto found = ends_[n - kShortest].find(KeyOf(tokens.subspan(size - n)));
    if (found == ends_[n - kShortest].end()) continue;
    // A place with the same hash and other tokens makes a bad guess, nothing worse.
    return tokens.subspan(found->second, std::max(most, 0));
  }
  return {};
}

}  // namespace transmla
