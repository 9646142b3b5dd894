#include "engine/grammar/banned_words.h"

#include "absl/strings/str_cat.h"

namespace transmla {
namespace {

// A mask has a bit for each token of the vocabulary: tens of kilobytes.
constexpr size_t kMaxMasks = 256;

}  // namespace

absl::StatusOr<std::shared_ptr<BannedWords>> BannedWords::Compile(
    absl::Span<const std::string> words, std::shared_ptr<const TokenTrie> tokens) {
  if (words.size() > kMaxBannedWords) {
    return absl::InvalidArgumentError(
        absl::StrCat("has ", words.size(), " words; at most ", kMaxBannedWords));
  }
  size_t bytes = 0;
  for (const std::string& word : words) {
    if (word.empty()) return absl::InvalidArgumentError("has an empty word");
    bytes += word.size();
  }
  if (bytes > kMaxBannedBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("has ", bytes, " bytes in all; at most ", kMaxBannedBytes));
  }
  auto banned = std::shared_ptr<BannedWords>(new BannedWords(std::move(tokens)));
  banned->Build(words);
  return banned;
}

void BannedWords::Build(absl::Span<const std::string> words) {
  static constexpr State kNone = -2;
  const auto add_state = [this] {
    next_.emplace_back().fill(kNone);
    return static_cast<State>(next_.size()) - 1;
  };
  add_state();
  // The words as a trie, up to the byte that completes them.
  for (const std::string& word : words) {
    State state = kStart;
    for (size_t i = 0; i < word.size() && state != kDead; ++i) {
      const auto byte = static_cast<uint8_t>(word[i]);
      State next = next_[state][byte];
      if (i + 1 == word.size()) {
        next = kDead;
      } else if (next == kNone) {
        next = add_state();
      }
      next_[state][byte] = next;
      state = next;
    }
  }
  // Breadth first: where a word does not go on, the longest end of the text that begins a word
  // does.
  std::vector<State> fallback(next_.size(), kStart);
  std::vector<State> order;
  for (State& next : next_[kStart]) {
    if (next == kNone) {
      next = kStart;
    } else if (next != kDead) {
      order.push_back(next);
    }
  }
  for (size_t i = 0; i < order.size(); ++i) {
    const State state = order[i];
    for (int byte = 0; byte < 256; ++byte) {
      State& next = next_[state][byte];
      const State instead = next_[fallback[state]][byte];
      if (next == kNone || instead == kDead) {
        next = instead;
      } else if (next != kDead) {
        fallback[next] = instead;
        order.push_back(next);
      }
    }
  }
}

BannedWords::State BannedWords::After(State state, absl::string_view text) const {
  for (const char byte : text) {
    // A word that is complete already, as in a text that was not made under this rule, is over.
    state = next_[state][static_cast<uint8_t>(byte)];
    if (state == kDead) state = kStart;
  }
  return state;
}

const TokenMask& BannedWords::Allowed(State state) {
  const auto found = masks_.find(state);
  if (found != masks_.end()) return found->second;
  if (masks_.size() >= kMaxMasks) masks_.clear();
  return masks_[state] = tokens_->Allowed(*this, state);
}

}  // namespace transmla
