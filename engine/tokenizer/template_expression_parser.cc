// Operators: what binds operands. The operands themselves: template_operand_parser.cc.
#include "engine/tokenizer/template_expression_parser.h"

#include <optional>
#include <utility>

#include "engine/base/status.h"

namespace transmla::jinja {
namespace {

std::optional<CompareOperator> ComparisonAt(const TokenStream& tokens) {
  const Token& token = tokens.current();
  if (token.kind == TokenKind::kName) {
    if (token.text == "in") return CompareOperator::kIn;
    if (token.text == "not" && tokens.next().Is(TokenKind::kName, "in")) {
      return CompareOperator::kNotIn;
    }
    return std::nullopt;
  }
  if (token.kind != TokenKind::kOperator) return std::nullopt;
  if (token.text == "==") return CompareOperator::kEqual;
  if (token.text == "!=") return CompareOperator::kNotEqual;
  if (token.text == "<") return CompareOperator::kLess;
  if (token.text == "<=") return CompareOperator::kLessEqual;
  if (token.text == ">") return CompareOperator::kGreater;
  if (token.text == ">=") return CompareOperator::kGreaterEqual;
  return std::nullopt;
}

std::optional<BinaryOperator> ArithmeticAt(const TokenStream& tokens) {
  const Token& token = tokens.current();
  if (token.kind != TokenKind::kOperator) return std::nullopt;
  if (token.text == "+") return BinaryOperator::kAdd;
  if (token.text == "-") return BinaryOperator::kSubtract;
  if (token.text == "*") return BinaryOperator::kMultiply;
  if (token.text == "/") return BinaryOperator::kDivide;
  if (token.text == "//") return BinaryOperator::kFloorDivide;
  if (token.text == "%") return BinaryOperator::kModulo;
  if (token.text == "**") return BinaryOperator::kPower;
  return std::nullopt;
}

}  // namespace

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseExpression() {
  RETURN_IF_ERROR(tokens_.Enter());
  ASSIGN_OR_RETURN(ExpressionPtr then, ParseBinary(kOr));
  while (tokens_.IsName("if")) {
    const int line = tokens_.Pass().line;
    ASSIGN_OR_RETURN(ExpressionPtr condition, ParseBinary(kOr));
    ExpressionPtr otherwise;
    if (tokens_.PassName("else")) {
      ASSIGN_OR_RETURN(otherwise, ParseExpression());
    }
    ASSIGN_OR_RETURN(then, MakeExpression(line, Conditional{std::move(condition), std::move(then),
                                                            std::move(otherwise)}));
  }
  tokens_.Leave();
  return then;
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseItem(bool with_conditional) {
  return with_conditional ? ParseExpression() : ParseWithoutConditional();
}

bool ExpressionParser::AtTupleEnd() const {
  const TokenKind kind = tokens_.current().kind;
  return kind == TokenKind::kPrintEnd || kind == TokenKind::kBlockEnd || tokens_.IsOperator(")") ||
         tokens_.IsName("if") || tokens_.IsName("recursive");
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseTuple(bool with_conditional) {
  const int line = tokens_.line();
  ASSIGN_OR_RETURN(ExpressionPtr first, ParseItem(with_conditional));
  if (!tokens_.IsOperator(",")) return first;
  ListLiteral tuple{{}, /*is_tuple=*/true};
  tuple.items.push_back(std::move(first));
  while (tokens_.PassOperator(",") && !AtTupleEnd()) {
    ASSIGN_OR_RETURN(ExpressionPtr item, ParseItem(with_conditional));
    tuple.items.push_back(std::move(item));
  }
  return MakeExpression(line, std::move(tuple));
}

// Precedence climbing: goes on as long as the next operator binds at least as `least`.
absl::StatusOr<ExpressionPtr> ExpressionParser::ParseBinary(Precedence least) {
  ASSIGN_OR_RETURN(ExpressionPtr left, ParseOperand(least));
  while (true) {
    const int line = tokens_.line();
    if (tokens_.IsName("or") || tokens_.IsName("and")) {
      const bool is_and = tokens_.IsName("and");
      if (least > (is_and ? kAnd : kOr)) return left;
      tokens_.Pass();
      ASSIGN_OR_RETURN(ExpressionPtr right, ParseBinary(is_and ? kNot : kAnd));
      ASSIGN_OR_RETURN(left,
                       MakeExpression(line, Logical{is_and, std::move(left), std::move(right)}));
    } else if (ComparisonAt(tokens_).has_value()) {
      if (least > kCompare) return left;
      ASSIGN_OR_RETURN(left, ParseComparison(std::move(left)));
    } else if (tokens_.IsOperator("~")) {
      if (least > kConcatenate) return left;
      ASSIGN_OR_RETURN(left, ParseConcatenation(std::move(left)));
    } else if (const auto op = ArithmeticAt(tokens_)) {
      const bool adds = *op == BinaryOperator::kAdd || *op == BinaryOperator::kSubtract;
      const Precedence own = adds ? kAdd : *op == BinaryOperator::kPower ? kPower : kMultiply;
      if (least > own) return left;
      tokens_.Pass();
      ASSIGN_OR_RETURN(ExpressionPtr right, ParseBinary(static_cast<Precedence>(own + 1)));
      ASSIGN_OR_RETURN(left, MakeExpression(line, Binary{*op, std::move(left), std::move(right)}));
    } else {
      return left;
    }
  }
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseOperand(Precedence least) {
  if (!tokens_.IsName("not")) return ParseUnary(/*with_filters=*/true);
  if (least > kNot) return tokens_.Unexpected("an expression");
  const int line = tokens_.Pass().line;
  RETURN_IF_ERROR(tokens_.Enter());
  ASSIGN_OR_RETURN(ExpressionPtr operand, ParseBinary(kNot));
  tokens_.Leave();
  return MakeExpression(line, Not{std::move(operand)});
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseComparison(ExpressionPtr first) {
  const int line = tokens_.line();
  Comparison comparison{std::move(first), {}};
  while (const auto op = ComparisonAt(tokens_)) {
    tokens_.Pass();
    if (*op == CompareOperator::kNotIn) tokens_.Pass();
    ASSIGN_OR_RETURN(ExpressionPtr operand, ParseBinary(kAdd));
    comparison.rest.emplace_back(*op, std::move(operand));
  }
  return MakeExpression(line, std::move(comparison));
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseConcatenation(ExpressionPtr first) {
  const int line = tokens_.line();
  Concatenation concatenation;
  concatenation.parts.push_back(std::move(first));
  while (tokens_.PassOperator("~")) {
    ASSIGN_OR_RETURN(ExpressionPtr part, ParseBinary(kMultiply));
    concatenation.parts.push_back(std::move(part));
  }
  return MakeExpression(line, std::move(concatenation));
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseUnary(bool with_filters) {
  const int line = tokens_.line();
  ExpressionPtr operand;
  const bool negates = tokens_.IsOperator("-");
  if (negates || tokens_.IsOperator("+")) {
    tokens_.Pass();
    RETURN_IF_ERROR(tokens_.Enter());
    ASSIGN_OR_RETURN(operand, ParseUnary(/*with_filters=*/false));
    tokens_.Leave();
    // +x is -(-x): the same number, and the same error for what is none.
    ASSIGN_OR_RETURN(operand, MakeExpression(line, Negation{std::move(operand)}));
    if (!negates) {
      ASSIGN_OR_RETURN(operand, MakeExpression(line, Negation{std::move(operand)}));
    }
  } else {
    ASSIGN_OR_RETURN(operand, ParsePrimary());
  }
  ASSIGN_OR_RETURN(operand, ParsePostfix(std::move(operand)));
  if (!with_filters) return operand;
  return ParseFilters(std::move(operand));
}

}  // namespace transmla::jinja
