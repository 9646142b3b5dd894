// The pieces of JSON text (RFC 8259) that schemas are made of, as expressions.
#ifndef TRANSMLA_ENGINE_GRAMMAR_JSON_TEXT_H_
#define TRANSMLA_ENGINE_GRAMMAR_JSON_TEXT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/grammar/grammar.h"

namespace transmla::grammar {

// Adds the rules that all JSON shares to `grammar`, which must outlive it.
class JsonText {
 public:
  explicit JsonText(Grammar* grammar);

  ExpressionPtr Value() const { return Rule(value_); }
  ExpressionPtr Object() const { return Rule(object_); }
  ExpressionPtr Array() const { return Rule(array_); }
  ExpressionPtr String() const { return Rule(string_); }
  // Of `least` to `most` characters, as a reader counts them: an escape is one.
  ExpressionPtr String(int least, int most) const;
  ExpressionPtr Number() const { return Rule(number_); }
  ExpressionPtr Integer() const { return Rule(integer_); }

  // Between tokens: nothing, one space, or a line end with at most 20 characters of indentation.
  // A model that may write white space for ever sometimes does.
  ExpressionPtr Space() const { return Rule(space_); }
  // "name": value
  ExpressionPtr Member(ExpressionPtr name, ExpressionPtr value) const;
  // Behind a value: , and what follows.
  ExpressionPtr Next(ExpressionPtr item) const;

 private:
  int space_, character_, string_, integer_, number_, value_, object_, array_;
};

// One character of `set` inside a string, escaped where it must be.
ExpressionPtr SpellInJson(const CharSet& set);
// `text` without its escapes between quotes.
ExpressionPtr QuotedJson(ExpressionPtr text);
// A string that is none of `names`; without escapes, so that it cannot be one in disguise either.
ExpressionPtr StringOtherThan(const std::vector<std::string>& names);

// The largest magnitude of a bound, and of what is written without one.
inline constexpr int64_t kMaxJsonInteger = 999'999'999'999'999;

struct NumberBounds {
  std::optional<int64_t> low;
  std::optional<int64_t> high;
  bool low_open = false;  // the bound itself is not allowed
  bool high_open = false;
};
// Bounds must be within kMaxJsonInteger. No text at all if they leave no number.
ExpressionPtr IntegerWithin(const NumberBounds& bounds);
// In decimal notation.
ExpressionPtr NumberWithin(const NumberBounds& bounds);

}  // namespace transmla::grammar

#endif  // TRANSMLA_ENGINE_GRAMMAR_JSON_TEXT_H_
