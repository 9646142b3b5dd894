#include "engine/grammar/grammar_text.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "engine/base/status.h"
#include "engine/base/utf8.h"
#include "engine/grammar/scanner.h"

namespace transmla::grammar {
namespace {

bool IsNameCharacter(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_';
}

class Parser {
 public:
  explicit Parser(absl::string_view text) : in_(text) {}
  absl::StatusOr<Grammar> Parse();

 private:
  // White space and comments; with `lines`, line ends too.
  void SkipSpace(bool lines);
  std::string Name();
  int RuleOf(const std::string& name);
  absl::StatusOr<ExpressionPtr> Alternatives();
  absl::StatusOr<ExpressionPtr> Alternative();
  absl::StatusOr<ExpressionPtr> Atom();
  absl::StatusOr<ExpressionPtr> QuotedText();
  absl::StatusOr<ExpressionPtr> Group();
  static absl::StatusOr<Escaped> Escape(Scanner& in);
  bool Nested() const { return depth_ > 0; }

  Scanner in_;
  Grammar grammar_;
  absl::flat_hash_map<std::string, int> rules_;
  int depth_ = 0;
};

void Parser::SkipSpace(bool lines) {
  while (!in_.AtEnd()) {
    const char c = in_.Peek();
    if (c == '#') {
      while (!in_.AtEnd() && in_.Peek() != '\n') in_.Advance(1);
    } else if (c == ' ' || c == '\t' || (lines && (c == '\n' || c == '\r'))) {
      in_.Advance(1);
    } else {
      return;
    }
  }
}

std::string Parser::Name() {
  std::string name;
  while (IsNameCharacter(in_.Peek())) {
    name.push_back(in_.Peek());
    in_.Advance(1);
  }
  return name;
}

int Parser::RuleOf(const std::string& name) {
  const auto [found, added] = rules_.try_emplace(name, 0);
  if (added) found->second = grammar_.Add(name);
  return found->second;
}

absl::StatusOr<Grammar> Parser::Parse() {
  for (SkipSpace(true); !in_.AtEnd(); SkipSpace(true)) {
    const std::string name = Name();
    if (name.empty()) return in_.Error("the name of a rule is missing");
    SkipSpace(false);
    if (!in_.Skip("::=")) return in_.Error(absl::StrCat("rule ", name, " lacks its ::="));
    SkipSpace(true);
    const int rule = RuleOf(name);
    if (grammar_.rules[rule].expression != nullptr) {
      return in_.Error(absl::StrCat("rule ", name, " is defined twice"));
    }
    ASSIGN_OR_RETURN(grammar_.rules[rule].expression, Alternatives());
    if (in_.Peek() == ')') return in_.Error("a ) has no (");
  }
  const auto root = rules_.find("root");
  if (root == rules_.end()) return absl::InvalidArgumentError("has no rule \"root\"");
  grammar_.root = root->second;
  return std::move(grammar_);
}

absl::StatusOr<ExpressionPtr> Parser::Alternatives() {
  std::vector<ExpressionPtr> choices;
  while (true) {
    ASSIGN_OR_RETURN(ExpressionPtr choice, Alternative());
    choices.push_back(std::move(choice));
    // A | may stand at the beginning of the next line.
    const Scanner before = in_;
    SkipSpace(true);
    if (!in_.Skip("|")) {
      in_ = before;
      break;
    }
    SkipSpace(true);
  }
  return Choice(std::move(choices));
}

absl::StatusOr<ExpressionPtr> Parser::Alternative() {
  std::vector<ExpressionPtr> parts;
  for (SkipSpace(Nested()); !in_.AtEnd(); SkipSpace(Nested())) {
    const char c = in_.Peek();
    if (c == '|' || c == ')' || c == '\n' || c == '\r') break;
    ASSIGN_OR_RETURN(ExpressionPtr atom, Atom());
    SkipSpace(Nested());
    ASSIGN_OR_RETURN(const std::optional<Scanner::Counts> counts, in_.Repetition());
    if (counts) {
      atom = Repeat(std::move(atom), counts->least, counts->most);
      if (absl::StrContains("*+?{", in_.Peek()) && !in_.AtEnd()) {
        return in_.Error("a repetition of a repetition needs a group");
      }
    }
    parts.push_back(std::move(atom));
  }
  return Sequence(std::move(parts));
}

absl::StatusOr<ExpressionPtr> Parser::Atom() {
  if (in_.Skip("(")) return Group();
  if (in_.Skip("\"")) return QuotedText();
  if (in_.Skip(".")) return Characters(CharSet::All());
  if (in_.Skip("[")) {
    ASSIGN_OR_RETURN(CharSet set, in_.Class(&Parser::Escape));
    return Characters(std::move(set));
  }
  const std::string name = Name();
  if (name.empty()) {
    return in_.Error("a literal, class, group or the name of a rule is expected");
  }
  return Rule(RuleOf(name));
}

absl::StatusOr<ExpressionPtr> Parser::Group() {
  if (++depth_ > kMaxGroupDepth) {
    return in_.Error(absl::StrCat("groups are nested more than ", kMaxGroupDepth, " deep"));
  }
  ASSIGN_OR_RETURN(ExpressionPtr group, Alternatives());
  SkipSpace(true);
  --depth_;
  if (!in_.Skip(")")) return in_.Error("a ( lacks its )");
  return group;
}

absl::StatusOr<ExpressionPtr> Parser::QuotedText() {
  std::string literal;
  while (!in_.Skip("\"")) {
    uint32_t c = 0;
    if (in_.Skip("\\")) {
      ASSIGN_OR_RETURN(const Escaped escaped, Escape(in_));
      c = escaped.character;
    } else {
      ASSIGN_OR_RETURN(c, in_.Character());
      if (c == '\n') return in_.Error("a literal lacks its closing quote");
    }
    AppendUtf8(c, literal);
  }
  return Literal(std::move(literal));
}

absl::StatusOr<Escaped> Parser::Escape(Scanner& in) {
  ASSIGN_OR_RETURN(uint32_t c, in.Character());
  switch (c) {
    case 'n':
      c = '\n';
      break;
    case 'r':
      c = '\r';
      break;
    case 't':
      c = '\t';
      break;
    case 'x': {
      ASSIGN_OR_RETURN(c, in.Hex(2));
      break;
    }
    case 'u': {
      ASSIGN_OR_RETURN(c, in.Hex(4));
      break;
    }
    case 'U': {
      ASSIGN_OR_RETURN(c, in.Hex(8));
      break;
    }
    case '\\':
    case '"':
    case '[':
    case ']':
    case '-':
    case '^':
      break;
    default:
      return in.Error("an unknown escape");
  }
  return Escaped{.single = true, .character = c, .characters = {}};
}

}  // namespace

absl::StatusOr<Grammar> ParseGrammarText(absl::string_view text) { return Parser(text).Parse(); }

}  // namespace transmla::grammar
