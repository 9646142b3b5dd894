#include "engine/grammar/token_trie.h"

#include <algorithm>
#include <numeric>

namespace transmla {

TokenTrie::TokenTrie(absl::Span<const std::string> tokens)
    : vocab_size_(static_cast<int>(tokens.size())) {
  std::vector<int32_t> order(tokens.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return tokens[a] < tokens[b]; });
  std::vector<int32_t> path;  // nodes of the token before, from the root
  const auto close = [&](size_t depth) {
    for (; path.size() > depth; path.pop_back()) {
      nodes_[path.back()].end = static_cast<int32_t>(nodes_.size());
    }
  };
  const std::string* before = nullptr;
  for (const int32_t token : order) {
    const std::string& bytes = tokens[token];
    if (bytes.empty()) continue;
    size_t common = 0;
    if (before != nullptr) {
      common = std::mismatch(before->begin(), before->end(), bytes.begin(), bytes.end()).first -
               before->begin();
    }
    close(common);
    for (size_t depth = common; depth < bytes.size(); ++depth) {
      path.push_back(static_cast<int32_t>(nodes_.size()));
      const auto first_token = static_cast<int32_t>(tokens_.size());
      nodes_.push_back({.byte = static_cast<uint8_t>(bytes[depth]),
                        .depth = static_cast<int32_t>(depth),
                        .end = 0,
                        .first_token = first_token,
                        .behind_tokens = first_token});
      deepest_ = std::max(deepest_, static_cast<int32_t>(depth) + 1);
    }
    // Sorted, so that a token comes right behind its node: nothing else was added since.
    tokens_.push_back(token);
    nodes_[path.back()].behind_tokens = static_cast<int32_t>(tokens_.size());
    before = &bytes;
  }
  close(0);
}

}  // namespace transmla
