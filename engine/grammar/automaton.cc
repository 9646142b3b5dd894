#include "engine/grammar/automaton.h"

#include <algorithm>

namespace transmla {

using Kind = grammar::Network::Kind;

Automaton::Automaton(std::shared_ptr<const grammar::Network> network)
    : network_(std::move(network)) {
  std::vector<Way> ways;
  seen_.clear();
  const bool accepts = Close({network_->start, kEmptyStack}, ways);
  start_ = Intern(std::move(ways), accepts);
}

Automaton::StackId Automaton::Push(NodeId node, StackId below) {
  // Nothing is left to do in that rule: its caller's caller is returned to. So right recursion
  // needs no stack.
  if (node == grammar::Network::kEnd) return below;
  const auto [found, added] =
      stack_of_.try_emplace({node, below}, static_cast<StackId>(stacks_.size()));
  if (added) stacks_.push_back({node, below});
  return found->second;
}

bool Automaton::Close(Way way, std::vector<Way>& ways) {
  bool accepts = false;
  const auto visit = [this](Way next) {
    if (seen_.size() >= kMaxWays) {
      overflowed_ = true;
    } else if (seen_.insert(next).second) {
      work_.push_back(next);
    }
  };
  visit(way);
  while (!work_.empty()) {
    const auto [id, stack] = work_.back();
    work_.pop_back();
    const grammar::Network::Node& node = network_->nodes[id];
    switch (node.kind) {
      case Kind::kByte:
        if (node.first <= node.last) ways.push_back({id, stack});
        break;
      case Kind::kSplit:
        visit({node.next, stack});
        visit({node.other, stack});
        break;
      case Kind::kCall:
        visit({node.other, Push(node.next, stack)});
        break;
      case Kind::kEnd:
        if (stack == kEmptyStack) {
          accepts = true;
        } else {
          visit({stacks_[stack].node, stacks_[stack].below});
        }
        break;
    }
  }
  return accepts;
}

Automaton::State Automaton::Intern(std::vector<Way> ways, bool accepts) {
  if (ways.empty() && !accepts) return kDead;
  std::sort(ways.begin(), ways.end());
  const auto [found, added] =
      state_of_.try_emplace({ways, accepts}, static_cast<State>(states_.size()));
  if (added) states_.push_back({.ways = std::move(ways), .accepts = accepts, .next = nullptr});
  return found->second;
}

Automaton::State Automaton::Next(State state, uint8_t byte) {
  if (states_[state].next == nullptr) {
    states_[state].next = std::make_unique<Transitions>();
    states_[state].next->fill(kUnknown);
  }
  if (const State known = (*states_[state].next)[byte]; known != kUnknown) return known;
  if (work_left_ <= 0) {
    exhausted_ = true;
    return kDead;
  }
  std::vector<Way> ways;
  bool accepts = false;
  seen_.clear();
  for (const auto& [id, stack] : states_[state].ways) {
    const grammar::Network::Node& node = network_->nodes[id];
    if (node.first <= byte && byte <= node.last) accepts |= Close({node.next, stack}, ways);
  }
  work_left_ -= static_cast<int64_t>(states_[state].ways.size() + seen_.size());
  const State next = Intern(std::move(ways), accepts);
  (*states_[state].next)[byte] = next;
  return next;
}

}  // namespace transmla
