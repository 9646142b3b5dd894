#include "engine/grammar/network.h"

#include <algorithm>
#include <numeric>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"

#include "engine/base/status.h"

namespace transmla::grammar {
namespace {

using NodeId = Network::NodeId;
using Kind = Network::Kind;

// What is repeated and takes more nodes than this becomes a rule, which a repetition then calls.
constexpr int kLargestCopy = 4;

// Compiles from the end of a rule to its beginning: each expression is given the node to go on at.
class Builder {
 public:
  explicit Builder(const Grammar& grammar) : grammar_(grammar), entries_(grammar.rules.size()) {}

  absl::StatusOr<Network> Build();

 private:
  struct Call {
    NodeId node;
    int rule;
  };

  NodeId Add(const Network::Node& node) {
    network_.nodes.push_back(node);
    return static_cast<NodeId>(network_.nodes.size()) - 1;
  }
  NodeId Split(NodeId a, NodeId b) { return Add({.kind = Kind::kSplit, .next = a, .other = b}); }
  NodeId Dead() { return Add({.kind = Kind::kByte}); }
  bool TooLarge() const { return network_.nodes.size() > kMaxNetworkNodes; }

  NodeId Compile(const Expression& expression, NodeId next);
  NodeId CompileCharacters(const CharSet& characters, NodeId next);
  NodeId CompileRepeat(const Expression& repeat, NodeId next);
  NodeId CompileCall(int rule, NodeId next);
  absl::Status CheckLeftRecursion() const;
  std::vector<bool> NullableRules() const;
  bool ReachesEnd(NodeId entry, const std::vector<bool>& nullable,
                  absl::flat_hash_set<NodeId>* calls) const;

  const Grammar& grammar_;
  Network network_;
  std::vector<NodeId> entries_;  // by rule: the grammar's, then the helpers
  std::vector<Call> calls_;      // whose rules' entries are not known yet
  // Rules made here, numbered after the grammar's, and the expressions that they stand for.
  std::vector<const Expression*> helper_expressions_;
  absl::flat_hash_map<const Expression*, int> helpers_;
  absl::flat_hash_map<NodeId, int> rule_of_call_;
};

NodeId Builder::CompileCall(int rule, NodeId next) {
  const NodeId node = Add({.kind = Kind::kCall, .next = next});
  calls_.push_back({node, rule});
  return node;
}

NodeId Builder::CompileCharacters(const CharSet& characters, NodeId next) {
  const std::vector<CharSet::Utf8Range> ranges = characters.Utf8Ranges();
  if (ranges.empty()) return Dead();
  NodeId entry = -1;
  for (const CharSet::Utf8Range& range : ranges) {
    NodeId node = next;
    for (int i = range.bytes - 1; i >= 0; --i) {
      node =
          Add({.kind = Kind::kByte, .first = range.first[i], .last = range.last[i], .next = node});
    }
    entry = entry < 0 ? node : Split(node, entry);
  }
  return entry;
}

NodeId Builder::CompileRepeat(const Expression& repeat, NodeId next) {
  const Expression* part = repeat.parts[0].get();
  const int copies = repeat.most == Expression::kUnbounded ? repeat.least + 1 : repeat.most;
  const auto compile = [&](NodeId then) -> NodeId {
    const size_t before = network_.nodes.size();
    const auto helper = helpers_.find(part);
    if (helper != helpers_.end()) return CompileCall(helper->second, then);
    const NodeId entry = Compile(*part, then);
    if (copies > 1 && network_.nodes.size() - before > kLargestCopy) {
      const int rule = static_cast<int>(grammar_.rules.size() + helper_expressions_.size());
      helpers_[part] = rule;
      helper_expressions_.push_back(part);
    }
    return entry;
  };
  NodeId node = next;
  if (repeat.most == Expression::kUnbounded) {
    node = Split(next, next);
    const NodeId body = compile(node);
    network_.nodes[node].next = body;
  } else {
    for (int i = repeat.least; i < repeat.most && !TooLarge(); ++i) {
      node = Split(compile(node), next);
    }
  }
  for (int i = 0; i < repeat.least && !TooLarge(); ++i) node = compile(node);
  return node;
}

NodeId Builder::Compile(const Expression& expression, NodeId next) {
  if (TooLarge()) return next;  // Build refuses it
  switch (expression.kind) {
    case Expression::Kind::kCharacters:
      return CompileCharacters(expression.characters, next);
    case Expression::Kind::kLiteral:
      for (auto byte = expression.literal.rbegin(); byte != expression.literal.rend(); ++byte) {
        const uint8_t value = static_cast<uint8_t>(*byte);
        next = Add({.kind = Kind::kByte, .first = value, .last = value, .next = next});
      }
      return next;
    case Expression::Kind::kSequence:
      for (auto part = expression.parts.rbegin(); part != expression.parts.rend(); ++part) {
        next = Compile(**part, next);
      }
      return next;
    case Expression::Kind::kChoice: {
      NodeId entry = -1;
      for (auto part = expression.parts.rbegin(); part != expression.parts.rend(); ++part) {
        const NodeId node = Compile(**part, next);
        entry = entry < 0 ? node : Split(node, entry);
      }
      return entry < 0 ? Dead() : entry;
    }
    case Expression::Kind::kRepeat:
      return CompileRepeat(expression, next);
    case Expression::Kind::kRule:
      return CompileCall(expression.rule, next);
  }
  return next;
}

absl::StatusOr<Network> Builder::Build() {
  Add({.kind = Kind::kEnd});
  for (size_t rule = 0; rule < grammar_.rules.size(); ++rule) {
    if (grammar_.rules[rule].expression == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat("rule ", grammar_.rules[rule].name, " is not defined"));
    }
    entries_[rule] = Compile(*grammar_.rules[rule].expression, Network::kEnd);
  }
  // A helper may make further ones.
  for (size_t i = 0; i < helper_expressions_.size() && !TooLarge(); ++i) {
    entries_.push_back(Compile(*helper_expressions_[i], Network::kEnd));
  }
  if (TooLarge()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the constraint is too large: more than ", kMaxNetworkNodes,
                     " nodes; repetitions with high counts take a node for each"));
  }
  for (const Call& call : calls_) {
    network_.nodes[call.node].other = entries_[call.rule];
    rule_of_call_[call.node] = call.rule;
  }
  RETURN_IF_ERROR(CheckLeftRecursion());
  network_.start = entries_[grammar_.root];
  return std::move(network_);
}

// Whether the rule that begins at `entry` can match the empty text. With `calls`, also collects the
// calls that it can make before its first byte.
bool Builder::ReachesEnd(NodeId entry, const std::vector<bool>& nullable,
                         absl::flat_hash_set<NodeId>* calls) const {
  absl::flat_hash_set<NodeId> seen = {entry};
  std::vector<NodeId> work = {entry};
  bool end = false;
  const auto visit = [&](NodeId node) {
    if (seen.insert(node).second) work.push_back(node);
  };
  while (!work.empty()) {
    const NodeId id = work.back();
    work.pop_back();
    const Network::Node& node = network_.nodes[id];
    switch (node.kind) {
      case Kind::kEnd:
        end = true;
        break;
      case Kind::kByte:
        break;
      case Kind::kSplit:
        visit(node.next);
        visit(node.other);
        break;
      case Kind::kCall:
        if (calls != nullptr) calls->insert(id);
        if (nullable[rule_of_call_.at(id)]) visit(node.next);
        break;
    }
  }
  return end;
}

std::vector<bool> Builder::NullableRules() const {
  // What a rule can match depends on the rules that it calls: once one of those turns out to match
  // the empty text, its callers are looked at again. So the work is linear in the calls.
  std::vector<std::vector<int>> callers(entries_.size());
  const std::vector<bool> all(entries_.size(), true);
  for (size_t rule = 0; rule < entries_.size(); ++rule) {
    absl::flat_hash_set<NodeId> calls;
    ReachesEnd(entries_[rule], all, &calls);
    for (const NodeId call : calls)
      callers[rule_of_call_.at(call)].push_back(static_cast<int>(rule));
  }
  std::vector<bool> nullable(entries_.size());
  std::vector<int> work(entries_.size());
  std::iota(work.begin(), work.end(), 0);
  while (!work.empty()) {
    const int rule = work.back();
    work.pop_back();
    if (nullable[rule] || !ReachesEnd(entries_[rule], nullable, nullptr)) continue;
    nullable[rule] = true;
    work.insert(work.end(), callers[rule].begin(), callers[rule].end());
  }
  return nullable;
}

absl::Status Builder::CheckLeftRecursion() const {
  const std::vector<bool> nullable = NullableRules();
  const size_t rules = entries_.size();
  std::vector<absl::flat_hash_set<NodeId>> calls(rules);
  for (size_t rule = 0; rule < rules; ++rule) ReachesEnd(entries_[rule], nullable, &calls[rule]);
  // Depth first: a rule that is met again while it is under way begins with itself.
  enum class Mark : uint8_t { kNew, kOpen, kDone };
  std::vector<Mark> marks(rules, Mark::kNew);
  struct Frame {
    int rule;
    std::vector<int> callees;
  };
  const auto frame = [&](int rule) {
    marks[rule] = Mark::kOpen;
    Frame opened{rule, {}};
    for (const NodeId call : calls[rule]) opened.callees.push_back(rule_of_call_.at(call));
    return opened;
  };
  for (size_t first = 0; first < rules; ++first) {
    if (marks[first] != Mark::kNew) continue;
    std::vector<Frame> stack = {frame(static_cast<int>(first))};
    while (!stack.empty()) {
      if (stack.back().callees.empty()) {
        marks[stack.back().rule] = Mark::kDone;
        stack.pop_back();
        continue;
      }
      const int callee = stack.back().callees.back();
      stack.back().callees.pop_back();
      if (marks[callee] == Mark::kOpen) {
        const size_t named = std::min<size_t>(callee, grammar_.rules.size() - 1);
        return absl::InvalidArgumentError(
            absl::StrCat("rule ", grammar_.rules[named].name,
                         " is left-recursive: it can begin with itself; put the recursion last"));
      }
      if (marks[callee] == Mark::kNew) stack.push_back(frame(callee));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Network> BuildNetwork(const Grammar& grammar) { return Builder(grammar).Build(); }

}  // namespace transmla::grammar
