// Automaton runs a grammar::Network byte by byte, over all its possible ways at once.
//
// A way is the next byte node and the stack of nodes to return to. The set of ways after a text is
// a state. States, and their transitions once taken, are kept: what a constraint met before costs
// one look-up a byte (the subset construction, done as needed, as lazy regular-expression engines
// do).
#ifndef TRANSMLA_ENGINE_GRAMMAR_AUTOMATON_H_
#define TRANSMLA_ENGINE_GRAMMAR_AUTOMATON_H_

#include <array>
#include <cstdint>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/types/span.h"

#include "engine/grammar/network.h"

namespace transmla {

// Thread-compatible; reading too may change it.
class Automaton {
 public:
  using State = int32_t;
  static constexpr State kDead = -1;  // no allowed text begins so

  explicit Automaton(std::shared_ptr<const grammar::Network> network);

  State start() const { return start_; }
  // The state after one more byte. REQUIRES: state is not kDead.
  State Next(State state, uint8_t byte);
  // Whether the text may end here.
  bool Accepts(State state) const { return states_[state].accepts; }
  // Whether the text may go on.
  bool Continues(State state) const { return !states_[state].ways.empty(); }

  // What it has kept, in states of about a kilobyte. Unbounded nesting makes new ones for ever: the
  // caller starts a new automaton where this gets too much.
  size_t size() const { return states_.size() + stacks_.size() / 64; }
  // From now on, transitions that were not taken before may look at so many ways; beyond that they
  // are kDead, exhausted() says so, and nothing is kept of them.
  void AllowWork(int64_t ways) {
    work_left_ = ways;
    exhausted_ = false;
  }
  bool exhausted() const { return exhausted_; }
  // A text was more ambiguous than kMaxWays, and ways were dropped: less is allowed than should be.
  bool overflowed() const { return overflowed_; }

  static constexpr size_t kMaxWays = 1 << 14;

 private:
  using NodeId = grammar::Network::NodeId;
  using StackId = int32_t;
  static constexpr StackId kEmptyStack = 0;
  using Way = std::pair<NodeId, StackId>;  // a byte node, and where to return behind its rule
  static constexpr State kUnknown = -2;
  using Transitions = std::array<State, 256>;

  struct StateData {
    std::vector<Way> ways;  // sorted
    bool accepts = false;
    std::unique_ptr<Transitions> next;  // once one was taken
  };
  struct Stack {
    NodeId node = grammar::Network::kEnd;
    StackId below = kEmptyStack;
  };

  StackId Push(NodeId node, StackId below);
  // Adds what a way leads to without a byte. True if that includes the end of the text.
  bool Close(Way way, std::vector<Way>& ways);
  State Intern(std::vector<Way> ways, bool accepts);

  const std::shared_ptr<const grammar::Network> network_;
  std::vector<StateData> states_;
  absl::flat_hash_map<std::pair<std::vector<Way>, bool>, State> state_of_;
  std::vector<Stack> stacks_ = std::vector<Stack>(1);
  absl::flat_hash_map<Way, StackId> stack_of_;
  State start_ = kDead;
  bool overflowed_ = false;
  int64_t work_left_ = std::numeric_limits<int64_t>::max();
  bool exhausted_ = false;
  absl::flat_hash_set<Way> seen_;  // of one closure
  std::vector<Way> work_;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_GRAMMAR_AUTOMATON_H_
