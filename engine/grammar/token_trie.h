// TokenTrie: a vocabulary by the bytes of its tokens, to find all tokens that a constraint allows
// in one walk.
#ifndef TRANSMLA_ENGINE_GRAMMAR_TOKEN_TRIE_H_
#define TRANSMLA_ENGINE_GRAMMAR_TOKEN_TRIE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"

namespace transmla {

// A set of tokens, one bit each.
class TokenMask {
 public:
  TokenMask() = default;
  explicit TokenMask(int vocab_size) : words_((vocab_size + 63) / 64) {}
  void Add(int32_t token) { words_[token / 64] |= uint64_t{1} << (token % 64); }
  bool Has(int32_t token) const {
    return static_cast<size_t>(token / 64) < words_.size() &&
           (words_[token / 64] >> (token % 64) & 1) != 0;
  }

 private:
  std::vector<uint64_t> words_;
};

// Immutable, so thread-safe.
class TokenTrie {
 public:
  // tokens[i]: the bytes that token i adds to a text. Tokens without any are never allowed.
  explicit TokenTrie(absl::Span<const std::string> tokens);

  int vocab_size() const { return vocab_size_; }
  // The tokens whose bytes `automaton` allows after `state`: it never gets to kDead on their way.
  template <typename ByteAutomaton>
  TokenMask Allowed(ByteAutomaton& automaton, typename ByteAutomaton::State state) const;

 private:
  // In preorder: the nodes below one follow it.
  struct Node {
    uint8_t byte = 0;
    int32_t depth = 0;        // bytes before this one
    int32_t end = 0;          // index behind the last node below
    int32_t first_token = 0;  // its tokens end here: in tokens_
    int32_t behind_tokens = 0;
  };

  int vocab_size_;
  int32_t deepest_ = 0;
  std::vector<Node> nodes_;
  std::vector<int32_t> tokens_;
};

template <typename ByteAutomaton>
TokenMask TokenTrie::Allowed(ByteAutomaton& automaton, typename ByteAutomaton::State state) const {
  TokenMask mask(vocab_size_);
  std::vector<typename ByteAutomaton::State> states(deepest_ + 1, ByteAutomaton::kDead);
  states[0] = state;
  for (size_t i = 0; i < nodes_.size();) {
    const Node& node = nodes_[i];
    const typename ByteAutomaton::State next = automaton.Next(states[node.depth], node.byte);
    if (next == ByteAutomaton::kDead) {
      i = static_cast<size_t>(node.end);
      continue;
    }
    for (int32_t t = node.first_token; t < node.behind_tokens; ++t) mask.Add(tokens_[t]);
    states[node.depth + 1] = next;
    ++i;
  }
  return mask;
}

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_GRAMMAR_TOKEN_TRIE_H_
