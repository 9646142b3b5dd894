#include "engine/grammar/grammar.h"

namespace transmla::grammar {
namespace {

ExpressionPtr Make(Expression expression) {
  return std::make_shared<const Expression>(std::move(expression));
}

}  // namespace

ExpressionPtr Characters(CharSet characters) {
  return Make({.kind = Expression::Kind::kCharacters, .characters = std::move(characters)});
}

ExpressionPtr Literal(std::string bytes) {
  return Make({.kind = Expression::Kind::kLiteral, .literal = std::move(bytes)});
}

ExpressionPtr Sequence(std::vector<ExpressionPtr> parts) {
  if (parts.size() == 1) return parts[0];
  return Make({.kind = Expression::Kind::kSequence, .parts = std::move(parts)});
}

ExpressionPtr Choice(std::vector<ExpressionPtr> parts) {
  if (parts.size() == 1) return parts[0];
  return Make({.kind = Expression::Kind::kChoice, .parts = std::move(parts)});
}

ExpressionPtr Repeat(ExpressionPtr part, int least, int most) {
  return Make({.kind = Expression::Kind::kRepeat,
               .parts = {std::move(part)},
               .least = least,
               .most = most});
}

ExpressionPtr Optional(ExpressionPtr part) { return Repeat(std::move(part), 0, 1); }

ExpressionPtr Rule(int rule) { return Make({.kind = Expression::Kind::kRule, .rule = rule}); }

}  // namespace transmla::grammar
