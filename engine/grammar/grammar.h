// Grammar: which texts are allowed, as rules of expressions. Regular expressions, grammars in text
// form and JSON schemas all become one; network.h makes it run.
//
// An expression is an immutable tree, shared freely.
#ifndef TRANSMLA_ENGINE_GRAMMAR_GRAMMAR_H_
#define TRANSMLA_ENGINE_GRAMMAR_GRAMMAR_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/grammar/char_set.h"

namespace transmla::grammar {

struct Expression;
using ExpressionPtr = std::shared_ptr<const Expression>;

struct Expression {
  enum class Kind { kCharacters, kLiteral, kSequence, kChoice, kRepeat, kRule };
  static constexpr int kUnbounded = -1;

  Kind kind = Kind::kLiteral;
  CharSet characters;                // kCharacters: one of them
  std::string literal;               // kLiteral: these bytes
  std::vector<ExpressionPtr> parts;  // kSequence, kChoice: any number; kRepeat: one
  int least = 0;                     // kRepeat
  int most = 0;                      // kRepeat; kUnbounded: any number
  int rule = 0;                      // kRule: index in Grammar::rules
};

ExpressionPtr Characters(CharSet characters);
ExpressionPtr Literal(std::string bytes);
ExpressionPtr Sequence(std::vector<ExpressionPtr> parts);  // empty: the empty text
ExpressionPtr Choice(std::vector<ExpressionPtr> parts);    // empty: no text at all
ExpressionPtr Repeat(ExpressionPtr part, int least, int most);
ExpressionPtr Optional(ExpressionPtr part);
ExpressionPtr Rule(int rule);

struct Grammar {
  struct NamedRule {
    std::string name;  // for messages
    ExpressionPtr expression;
  };
  std::vector<NamedRule> rules;
  int root = 0;  // of the whole text

  int Add(std::string name, ExpressionPtr expression = nullptr) {
    rules.push_back({std::move(name), std::move(expression)});
    return static_cast<int>(rules.size()) - 1;
  }
};

}  // namespace transmla::grammar

#endif  // TRANSMLA_ENGINE_GRAMMAR_GRAMMAR_H_
