#include "engine/grammar/constraint.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "engine/base/status.h"
#include "engine/base/utf8.h"
#include "engine/grammar/grammar_text.h"
#include "engine/grammar/json_schema.h"
#include "engine/grammar/regex_syntax.h"

namespace transmla {
namespace {

// A mask has a bit for each token of the vocabulary: tens of kilobytes.
constexpr size_t kMaxMasks = 128;

absl::StatusOr<grammar::Grammar> ChoiceGrammar(const std::vector<std::string>& choices) {
  if (choices.empty() || choices.size() > kMaxConstraintChoices) {
    return absl::InvalidArgumentError(absl::StrCat(
        "has ", choices.size(), " choices; it must have 1 to ", kMaxConstraintChoices));
  }
  size_t bytes = 0;
  std::vector<grammar::ExpressionPtr> parts;
  for (const std::string& choice : choices) {
    if (choice.empty()) return absl::InvalidArgumentError("has an empty choice");
    bytes += choice.size();
    parts.push_back(grammar::Literal(choice));
  }
  if (bytes > kMaxConstraintBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("has ", bytes, " bytes of choices; at most ", kMaxConstraintBytes));
  }
  grammar::Grammar grammar;
  grammar.Add("choice", grammar::Choice(std::move(parts)));
  return grammar;
}

absl::StatusOr<grammar::Grammar> ParseSpec(const ConstraintSpec& spec) {
  if (spec.text.size() > kMaxConstraintBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("has ", spec.text.size(), " bytes; at most ", kMaxConstraintBytes));
  }
  switch (spec.kind) {
    case ConstraintSpec::Kind::kJsonObject:
      return grammar::JsonSchemaGrammar(R"({"type": "object"})");
    case ConstraintSpec::Kind::kJsonSchema:
      return grammar::JsonSchemaGrammar(spec.text);
    case ConstraintSpec::Kind::kRegex:
      return grammar::RegexGrammar(spec.text);
    case ConstraintSpec::Kind::kGrammar:
      return grammar::ParseGrammarText(spec.text);
    case ConstraintSpec::Kind::kChoice:
      return ChoiceGrammar(spec.choices);
  }
  return absl::InvalidArgumentError("unknown kind of constraint");
}

}  // namespace

absl::StatusOr<std::shared_ptr<Constraint>> Constraint::Compile(
    const ConstraintSpec& spec, std::shared_ptr<const TokenTrie> tokens) {
  ASSIGN_OR_RETURN(const grammar::Grammar grammar, ParseSpec(spec));
  ASSIGN_OR_RETURN(grammar::Network network, grammar::BuildNetwork(grammar));
  auto constraint = std::shared_ptr<Constraint>(new Constraint(
      std::make_shared<const grammar::Network>(std::move(network)), std::move(tokens)));
  const Automaton& automaton = constraint->running()->automaton;
  if (automaton.start() == Automaton::kDead) {
    return absl::InvalidArgumentError("allows no text at all");
  }
  if (automaton.overflowed()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "is too ambiguous: a text can begin in more than ", Automaton::kMaxWays, " ways"));
  }
  // Before anybody waits for it. The first mask is kept.
  ConstraintMatcher matcher(constraint);
  matcher.Allowed();
  if (matcher.failed()) {
    return absl::InvalidArgumentError(
        "is too ambiguous: it takes too long to find the tokens that a text can begin with");
  }
  return constraint;
}

std::shared_ptr<Constraint::Running> Constraint::running() {
  if (running_ == nullptr || running_->automaton.size() > kFull) {
    running_ = std::make_shared<Running>(network_);
  }
  return running_;
}

ConstraintMatcher::ConstraintMatcher(std::shared_ptr<Constraint> constraint)
    : constraint_(std::move(constraint)),
      running_(constraint_->running()),
      state_(running_->automaton.start()) {}

void ConstraintMatcher::Restart() {
  running_ = constraint_->running();
  state_ = running_->automaton.start();
  Advance(text_);
  if (state_ == Automaton::kDead) return;
  // A text that needs as much by itself is not gone through again at every token.
  restart_at_ = std::max(Constraint::kFull, 2 * running_->automaton.size());
}

const TokenMask& ConstraintMatcher::Allowed() {
  if (running_->automaton.size() > restart_at_) Restart();
  if (state_ == Automaton::kDead) {
    allowed_ = std::make_shared<const TokenMask>(constraint_->tokens_->vocab_size());
    return *allowed_;
  }
  const auto found = running_->masks.find(state_);
  if (found != running_->masks.end()) {
    allowed_ = found->second;
  } else {
    if (running_->masks.size() >= kMaxMasks) running_->masks.clear();
    running_->automaton.AllowWork(Constraint::kMaxWork);
    allowed_ = std::make_shared<const TokenMask>(
        constraint_->tokens_->Allowed(running_->automaton, state_));
    if (running_->automaton.exhausted()) {
      failed_ = true;
      allowed_ = std::make_shared<const TokenMask>(constraint_->tokens_->vocab_size());
    } else {
      running_->masks[state_] = allowed_;
    }
  }
  return *allowed_;
}

void ConstraintMatcher::Accept(absl::string_view bytes) {
  text_.append(bytes.data(), bytes.size());
  Advance(bytes);
}

void ConstraintMatcher::Advance(absl::string_view bytes) {
  running_->automaton.AllowWork(Constraint::kMaxWork);
  for (const char byte : bytes) {
    if (state_ == Automaton::kDead) return;
    state_ = running_->automaton.Next(state_, static_cast<uint8_t>(byte));
  }
}

}  // namespace transmla
