// Network: a grammar as a recursive transition network over bytes (Woods, "Transition network
// grammars for natural language analysis", CACM 13:10, 1970).
//
// A rule is a small automaton. A byte node consumes one byte; a split goes two ways; a call runs
// another rule and goes on behind it; the end returns to whoever called.
#ifndef TRANSMLA_ENGINE_GRAMMAR_NETWORK_H_
#define TRANSMLA_ENGINE_GRAMMAR_NETWORK_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"

#include "engine/grammar/grammar.h"

namespace transmla::grammar {

struct Network {
  using NodeId = int32_t;
  static constexpr NodeId kEnd = 0;  // the one end node

  enum class Kind : uint8_t { kEnd, kByte, kSplit, kCall };
  struct Node {
    Kind kind = Kind::kEnd;
    uint8_t first = 1;    // kByte: consumes first to last; none if first > last
    uint8_t last = 0;     // kByte
    NodeId next = kEnd;   // all but kEnd; kCall: where to go on after the rule
    NodeId other = kEnd;  // kSplit: the other way; kCall: where the rule begins
  };

  std::vector<Node> nodes;
  NodeId start = kEnd;
};

// InvalidArgument if a rule is left-recursive (it would begin by running itself for ever), not
// defined, or if the network gets larger than kMaxNetworkNodes.
absl::StatusOr<Network> BuildNetwork(const Grammar& grammar);

inline constexpr int kMaxNetworkNodes = 1 << 18;

}  // namespace transmla::grammar

#endif  // TRANSMLA_ENGINE_GRAMMAR_NETWORK_H_
