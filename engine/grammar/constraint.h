// Constraint: what a request allows its completion to be, compiled once and applied as token masks.
#ifndef TRANSMLA_ENGINE_GRAMMAR_CONSTRAINT_H_
#define TRANSMLA_ENGINE_GRAMMAR_CONSTRAINT_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "engine/grammar/automaton.h"
#include "engine/grammar/network.h"
#include "engine/grammar/token_trie.h"

namespace transmla {

struct ConstraintSpec {
  enum class Kind { kJsonObject, kJsonSchema, kRegex, kGrammar, kChoice };
  Kind kind = Kind::kJsonObject;
  std::string text;                  // the schema, regular expression or grammar
  std::vector<std::string> choices;  // kChoice
};

inline constexpr size_t kMaxConstraintBytes = 256 << 10;  // of text, and of all choices
inline constexpr size_t kMaxConstraintChoices = 4096;

// Shared by the requests that ask for the same. Compile may run on any thread; what a matcher does
// with it belongs to the engine's thread.
class Constraint {
 public:
  // InvalidArgument that says what the text has wrong, or what is not supported.
  static absl::StatusOr<std::shared_ptr<Constraint>> Compile(
      const ConstraintSpec& spec, std::shared_ptr<const TokenTrie> tokens);

 private:
  friend class ConstraintMatcher;
  // An automaton with the masks of its states.
  struct Running {
    explicit Running(std::shared_ptr<const grammar::Network> network)
        : automaton(std::move(network)) {}
    Automaton automaton;
    absl::flat_hash_map<Automaton::State, std::shared_ptr<const TokenMask>> masks;
  };

  Constraint(std::shared_ptr<const grammar::Network> network,
             std::shared_ptr<const TokenTrie> tokens)
      : network_(std::move(network)), tokens_(std::move(tokens)) {}
  static constexpr size_t kFull = 4096;  // Automaton::size()
  // For one token. A few hundred thousand are common for the first token of JSON.
  static constexpr int64_t kMaxWork = 2'000'000;
  std::shared_ptr<Running> running();

  const std::shared_ptr<const grammar::Network> network_;
  const std::shared_ptr<const TokenTrie> tokens_;
  std::shared_ptr<Running> running_;  // replaced when full; matchers under way keep theirs
};

// One completion on its way through a constraint. Thread-compatible: the engine's thread.
class ConstraintMatcher {
 public:
  explicit ConstraintMatcher(std::shared_ptr<Constraint> constraint);

  // The tokens that may come next; valid until the next call. None, and failed(), if it took too
  // long to find out.
  const TokenMask& Allowed();
  // The text goes on with the bytes of a token. What Allowed did not allow ends the matcher:
  // nothing is allowed any more.
  void Accept(absl::string_view bytes);
  // Whether the text may end here.
  bool MayEnd() const { return state_ != Automaton::kDead && running_->automaton.Accepts(state_); }
  // Whether the constraint is too ambiguous to go on with.
  bool failed() const { return failed_; }
  // Whether it must: nothing can come any more.
  bool MustEnd() const {
    return state_ == Automaton::kDead || !running_->automaton.Continues(state_);
  }

 private:
  void Restart();
  // Takes the state on by bytes that text_ has already.
  void Advance(absl::string_view bytes);

  const std::shared_ptr<Constraint> constraint_;
  std::shared_ptr<Constraint::Running> running_;
  Automaton::State state_;
  std::string text_;  // to go through again in a new automaton
  bool failed_ = false;
  size_t restart_at_ = Constraint::kFull;  // size of the automaton
  std::shared_ptr<const TokenMask> allowed_;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_GRAMMAR_CONSTRAINT_H_
