#include "engine/grammar/json_text.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"

#include "engine/base/utf8.h"

namespace transmla::grammar {
namespace {

const CharSet& Escaped() {
  static const auto* const set = new CharSet{{0, 0x1F}, {'"', '"'}, {'\\', '\\'}};
  return *set;
}

CharSet Unescaped() { return Escaped().Complement(); }

ExpressionPtr Digits(int least, int most) {
  return Repeat(Characters(CharSet{{'0', '9'}}), least, most);
}

ExpressionPtr HexDigit() { return Characters(CharSet{{'0', '9'}, {'A', 'F'}, {'a', 'f'}}); }

// Any escape of RFC 8259 but halves of surrogate pairs: alone, they are not text.
ExpressionPtr AnyEscape() {
  CharSet not_d{{'0', '9'}, {'A', 'F'}, {'a', 'f'}};
  not_d.Remove(CharSet{{'D', 'D'}, {'d', 'd'}});
  const ExpressionPtr code =
      Choice({Sequence({Characters(not_d), Repeat(HexDigit(), 3, 3)}),
              Sequence({Characters(CharSet{{'D', 'D'}, {'d', 'd'}}),
                        Characters(CharSet{{'0', '7'}}), Repeat(HexDigit(), 2, 2)})});
  CharSet letters;
  for (const char c : absl::string_view("\"\\/bfnrt")) {
    letters.Add(static_cast<uint32_t>(c), static_cast<uint32_t>(c));
  }
  return Sequence(
      {Literal("\\"), Choice({Characters(std::move(letters)), Sequence({Literal("u"), code})})});
}

ExpressionPtr Character(char c) { return Literal(std::string(1, c)); }

// Numbers of as many digits as both have, from `low` to `high`.
ExpressionPtr SameLength(absl::string_view low, absl::string_view high) {
  if (low.empty()) return Sequence({});
  const int rest = static_cast<int>(low.size()) - 1;
  if (low[0] == high[0]) {
    return Sequence({Character(low[0]), SameLength(low.substr(1), high.substr(1))});
  }
  const std::string nines(static_cast<size_t>(rest), '9');
  const std::string zeros(static_cast<size_t>(rest), '0');
  std::vector<ExpressionPtr> choices;
  char first = low[0], last = high[0];
  if (low.substr(1) != zeros) {
    choices.push_back(Sequence({Character(first++), SameLength(low.substr(1), nines)}));
  }
  ExpressionPtr top;
  if (high.substr(1) != nines) {
    top = Sequence({Character(last--), SameLength(zeros, high.substr(1))});
  }
  if (first <= last) {
    choices.push_back(
        Sequence({Characters(CharSet{{static_cast<uint32_t>(first), static_cast<uint32_t>(last)}}),
                  Digits(rest, rest)}));
  }
  if (top != nullptr) choices.push_back(std::move(top));
  return Choice(std::move(choices));
}

// Integers from `low` to `high`, both 0 or more.
ExpressionPtr Magnitudes(int64_t low, int64_t high) {
  std::vector<ExpressionPtr> choices;
  while (low <= high) {
    // As many as have the digits of `low`.
    const std::string digits = absl::StrCat(low);
    int64_t end = 1;
    for (size_t i = 0; i < digits.size(); ++i) end *= 10;
    const int64_t last = std::min(high, end - 1);
    choices.push_back(SameLength(digits, absl::StrCat(last)));
    low = end;
  }
  return Choice(std::move(choices));
}

struct Magnitude {
  int64_t low = 0;
  int64_t high = 0;
  bool low_open = false;
  bool high_open = false;

  int64_t FirstInteger() const { return low + (low_open ? 1 : 0); }
  int64_t LastInteger() const { return high - (high_open ? 1 : 0); }
};

// What the bounds leave of the numbers of one sign. Empty: low > high.
Magnitude Positive(const NumberBounds& b) {
  Magnitude m{.low = b.low.value_or(0),
              .high = b.high.value_or(kMaxJsonInteger),
              .low_open = b.low_open && b.low.has_value(),
              .high_open = b.high_open && b.high.has_value()};
  if (m.low < 0) {
    m.low = 0;
    m.low_open = false;
  }
  return m;
}

Magnitude Negative(const NumberBounds& b) {
  NumberBounds mirrored{
      .low = std::nullopt, .high = std::nullopt, .low_open = b.high_open, .high_open = b.low_open};
  if (b.high) mirrored.low = -*b.high;
  if (b.low) mirrored.high = -*b.low;
  Magnitude m = Positive(mirrored);
  // There is no integer -0; -0.5 is above it.
  if (m.low == 0) m.low_open = true;
  return m;
}

ExpressionPtr Integers(const Magnitude& m) { return Magnitudes(m.FirstInteger(), m.LastInteger()); }

// With a fraction that is not zero, so that an open bound's own integer part may stand before it.
ExpressionPtr Fractions(const Magnitude& m) {
  return Sequence({Magnitudes(m.low, m.high - 1), Literal("."), Digits(0, 14),
                   Characters(CharSet{{'1', '9'}})});
}

using Names = std::set<std::u32string>;

// What may follow `depth` characters of a string that is none of the names.
ExpressionPtr NoName(size_t depth, Names::const_iterator begin, Names::const_iterator end) {
  // [begin, end) agree in their first `depth` characters.
  std::vector<ExpressionPtr> choices;
  const bool is_name = begin != end && begin->size() == depth;
  if (!is_name) choices.push_back(Sequence({}));
  CharSet others = Unescaped();
  auto at = begin;
  if (is_name) ++at;
  while (at != end) {
    const char32_t c = (*at)[depth];
    auto behind = at;
    while (behind != end && (*behind)[depth] == c) ++behind;
    const CharSet one{{c, c}};
    if (!Escaped().Has(c)) {
      choices.push_back(Sequence({Characters(one), NoName(depth + 1, at, behind)}));
    }
    others.Remove(one);
    at = behind;
  }
  choices.push_back(Sequence(
      {Characters(std::move(others)), Repeat(Characters(Unescaped()), 0, Expression::kUnbounded)}));
  return Choice(std::move(choices));
}

}  // namespace

JsonText::JsonText(Grammar* grammar) {
  space_ = grammar->Add(
      "space",
      Optional(Choice({Literal(" "),
                       Sequence({Literal("\n"),
                                 Repeat(Characters(CharSet{{'\t', '\t'}, {' ', ' '}}), 0, 20)})})));
  character_ = grammar->Add("character", Choice({Characters(Unescaped()), AnyEscape()}));
  string_ = grammar->Add("string", QuotedJson(Repeat(Rule(character_), 0, Expression::kUnbounded)));
  integer_ = grammar->Add("integer", IntegerWithin({}));
  number_ = grammar->Add(
      "number",
      Sequence({Optional(Literal("-")),
                Choice({Literal("0"), Sequence({Characters(CharSet{{'1', '9'}}), Digits(0, 14)})}),
                Optional(Sequence({Literal("."), Digits(1, 15)})),
                Optional(Sequence({Characters(CharSet{{'E', 'E'}, {'e', 'e'}}),
                                   Optional(Characters(CharSet{{'+', '+'}, {'-', '-'}})),
                                   Digits(1, 2)}))}));
  value_ = grammar->Add("value");
  const ExpressionPtr member = Member(String(), Value());
  object_ = grammar->Add(
      "object",
      Sequence(
          {Literal("{"), Space(),
           Optional(Sequence({member, Repeat(Next(member), 0, Expression::kUnbounded), Space()})),
           Literal("}")}));
  array_ = grammar->Add(
      "array",
      Sequence(
          {Literal("["), Space(),
           Optional(Sequence({Value(), Repeat(Next(Value()), 0, Expression::kUnbounded), Space()})),
           Literal("]")}));
  grammar->rules[value_].expression = Choice(
      {Object(), Array(), String(), Number(), Literal("true"), Literal("false"), Literal("null")});
}

ExpressionPtr JsonText::String(int least, int most) const {
  return QuotedJson(Repeat(Rule(character_), least, most));
}

ExpressionPtr JsonText::Member(ExpressionPtr name, ExpressionPtr value) const {
  return Sequence({std::move(name), Literal(":"), Space(), std::move(value)});
}

ExpressionPtr JsonText::Next(ExpressionPtr item) const {
  return Sequence({Literal(","), Space(), std::move(item)});
}

ExpressionPtr SpellInJson(const CharSet& set) {
  std::vector<ExpressionPtr> choices;
  CharSet plain = set;
  plain.Remove(Escaped());
  if (!plain.empty()) choices.push_back(Characters(std::move(plain)));
  for (uint32_t c = 0; c <= '\\'; ++c) {
    if (!Escaped().Has(c) || !set.Has(c)) continue;
    constexpr absl::string_view kShort = "\"\"\\\\\bb\ff\nn\rr\tt";  // character, letter
    bool is_short = false;
    for (size_t i = 0; i < kShort.size(); i += 2) {
      if (static_cast<uint32_t>(kShort[i]) != c) continue;
      choices.push_back(Literal({'\\', kShort[i + 1]}));
      is_short = true;
    }
    if (!is_short) choices.push_back(Literal(absl::StrFormat("\\u%04x", c)));
  }
  return Choice(std::move(choices));
}

ExpressionPtr QuotedJson(ExpressionPtr text) {
  return Sequence({Literal("\""), std::move(text), Literal("\"")});
}

ExpressionPtr StringOtherThan(const std::vector<std::string>& names) {
  Names sorted;
  for (absl::string_view name : names) {
    std::u32string characters;
    while (!name.empty()) {
      const Utf8Step step = NextUtf8(name);
      characters.push_back(step.code_point);
      name.remove_prefix(static_cast<size_t>(step.bytes));
    }
    sorted.insert(std::move(characters));
  }
  return QuotedJson(NoName(0, sorted.begin(), sorted.end()));
}

ExpressionPtr IntegerWithin(const NumberBounds& bounds) {
  return Choice({Integers(Positive(bounds)), Sequence({Literal("-"), Integers(Negative(bounds))})});
}

ExpressionPtr NumberWithin(const NumberBounds& bounds) {
  const Magnitude positive = Positive(bounds);
  const Magnitude negative = Negative(bounds);
  return Choice({Integers(positive), Fractions(positive),
                 Sequence({Literal("-"), Choice({Integers(negative), Fractions(negative)})})});
}

}  // namespace transmla::grammar
