#include "engine/grammar/regex_syntax.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

#include "engine/base/status.h"
#include "engine/grammar/scanner.h"

namespace transmla::grammar {
namespace {

const CharSet& Digits() {
  static const auto* const set = new CharSet{{'0', '9'}};
  return *set;
}

const CharSet& WordCharacters() {
  static const auto* const set = new CharSet{{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
  return *set;
}

const CharSet& Spaces() {
  // WhiteSpace and LineTerminator of ECMA-262.
  static const auto* const set = new CharSet{
      {'\t', '\r'},     {' ', ' '},       {0xA0, 0xA0},     {0x1680, 0x1680}, {0x2000, 0x200A},
      {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
  return *set;
}

class Parser {
 public:
  Parser(absl::string_view pattern, const RegexOptions& options)
      : in_(pattern), options_(options) {}

  absl::StatusOr<ExpressionPtr> Parse() {
    ASSIGN_OR_RETURN(ExpressionPtr all, Alternatives());
    if (!in_.AtEnd()) return in_.Error("a ) has no (");
    return all;
  }

 private:
  absl::StatusOr<ExpressionPtr> Alternatives();
  absl::StatusOr<ExpressionPtr> Alternative();
  absl::StatusOr<ExpressionPtr> Atom();
  absl::StatusOr<ExpressionPtr> Group();
  static absl::StatusOr<Escaped> Escape(Scanner& in);
  ExpressionPtr Anything() const {
    return Repeat(options_.spell(CharSet::All()), 0, Expression::kUnbounded);
  }

  Scanner in_;
  const RegexOptions& options_;
  int depth_ = 0;
};

absl::StatusOr<ExpressionPtr> Parser::Alternatives() {
  std::vector<ExpressionPtr> choices;
  do {
    ASSIGN_OR_RETURN(ExpressionPtr choice, Alternative());
    choices.push_back(std::move(choice));
  } while (in_.Skip("|"));
  return Choice(std::move(choices));
}

absl::StatusOr<ExpressionPtr> Parser::Alternative() {
  const bool outermost = depth_ == 0;
  std::vector<ExpressionPtr> parts;
  const bool from_start = outermost && in_.Skip("^");
  bool to_end = false;
  while (!in_.AtEnd() && in_.Peek() != '|' && in_.Peek() != ')') {
    if (outermost && in_.Peek() == '$' && (in_.Peek(1) == '\0' || in_.Peek(1) == '|')) {
      in_.Advance(1);
      to_end = true;
      break;
    }
    ASSIGN_OR_RETURN(ExpressionPtr atom, Atom());
    ASSIGN_OR_RETURN(const std::optional<Scanner::Counts> counts, in_.Repetition());
    if (counts) {
      in_.Skip("?");  // lazy: the same texts
      if (in_.Peek() == '*' || in_.Peek() == '+' || in_.Peek() == '{') {
        return in_.Error("a repetition of a repetition needs a group");
      }
      atom = Repeat(std::move(atom), counts->least, counts->most);
    }
    parts.push_back(std::move(atom));
  }
  if (outermost && options_.search) {
    if (!from_start) parts.insert(parts.begin(), Anything());
    if (!to_end) parts.push_back(Anything());
  }
  return Sequence(std::move(parts));
}

absl::StatusOr<ExpressionPtr> Parser::Group() {
  if (in_.Skip("?:")) {
  } else if (in_.Peek() == '?') {
    return in_.Error("look-around, named groups and flags are not supported");
  }
  if (++depth_ > kMaxGroupDepth) {
    return in_.Error(absl::StrCat("groups are nested more than ", kMaxGroupDepth, " deep"));
  }
  ASSIGN_OR_RETURN(ExpressionPtr group, Alternatives());
  --depth_;
  if (!in_.Skip(")")) return in_.Error("a ( lacks its )");
  return group;
}

absl::StatusOr<ExpressionPtr> Parser::Atom() {
  if (in_.Skip("(")) return Group();
  if (in_.Skip(".")) {
    return options_.spell(CharSet{{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}}.Complement());
  }
  if (in_.Skip("[")) {
    ASSIGN_OR_RETURN(CharSet set, in_.Class(&Parser::Escape));
    return options_.spell(std::move(set));
  }
  if (in_.Skip("\\")) {
    ASSIGN_OR_RETURN(Escaped escaped, Escape(in_));
    if (!escaped.single) return options_.spell(std::move(escaped.characters));
    return options_.spell(CharSet{{escaped.character, escaped.character}});
  }
  switch (in_.Peek()) {
    case '^':
    case '$':
      return in_.Error("^ and $ are supported at the ends of the whole expression's alternatives");
    case '*':
    case '+':
    case '?':
    case '{':
      return in_.Error("a repetition has nothing to repeat");
    default:
      break;
  }
  ASSIGN_OR_RETURN(const uint32_t c, in_.Character());
  return options_.spell(CharSet{{c, c}});
}

absl::StatusOr<Escaped> Parser::Escape(Scanner& in) {
  ASSIGN_OR_RETURN(const uint32_t c, in.Character());
  const auto one = [](uint32_t character) {
    return Escaped{.single = true, .character = character, .characters = {}};
  };
  const auto several = [](CharSet set) {
    return Escaped{.single = false, .character = 0, .characters = std::move(set)};
  };
  switch (c) {
    case 'd':
      return several(Digits());
    case 'D':
      return several(Digits().Complement());
    case 'w':
      return several(WordCharacters());
    case 'W':
      return several(WordCharacters().Complement());
    case 's':
      return several(Spaces());
    case 'S':
      return several(Spaces().Complement());
    case 'n':
      return one('\n');
    case 'r':
      return one('\r');
    case 't':
      return one('\t');
    case 'f':
      return one('\f');
    case 'v':
      return one('\v');
    case '0':
      return one(0);
    case 'x': {
      ASSIGN_OR_RETURN(const uint32_t value, in.Hex(2));
      return one(value);
    }
    case 'u': {
      if (!in.Skip("{")) {
        ASSIGN_OR_RETURN(const uint32_t value, in.Hex(4));
        return one(value);
      }
      int digits = 0;
      while (digits < 7 && in.Peek(static_cast<size_t>(digits)) != '}') ++digits;
      if (digits == 0 || digits > 6) return in.Error("\\u{…} needs 1 to 6 hexadecimal digits");
      ASSIGN_OR_RETURN(const uint32_t value, in.Hex(digits));
      in.Advance(1);
      return one(value);
    }
    default:
      if (c < 0x80 && absl::ascii_isalnum(static_cast<unsigned char>(c))) {
        return in.Error(absl::StrCat("the escape \\", std::string(1, static_cast<char>(c)),
                                     " is not supported"));
      }
      return one(c);
  }
}

}  // namespace

absl::StatusOr<ExpressionPtr> ParseRegex(absl::string_view pattern, const RegexOptions& options) {
  return Parser(pattern, options).Parse();
}

absl::StatusOr<Grammar> RegexGrammar(absl::string_view pattern) {
  ASSIGN_OR_RETURN(ExpressionPtr expression, ParseRegex(pattern, {}));
  Grammar grammar;
  grammar.Add("regex", std::move(expression));
  return grammar;
}

}  // namespace transmla::grammar
