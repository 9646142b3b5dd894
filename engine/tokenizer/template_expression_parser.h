// ExpressionParser: the part of the parser inside of tags. Precedence is Jinja's, from the loosest:
// if-else, or, and, not, comparisons, + -, ~, * / // %, **, unary - and +, filters and tests, calls
// and subscripts.
#ifndef TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_EXPRESSION_PARSER_H_
#define TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_EXPRESSION_PARSER_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "engine/tokenizer/template_ast.h"
#include "engine/tokenizer/template_token_stream.h"

namespace transmla::jinja {

// All functions begin at the stream's current token and end behind what they parsed; an error names
// the line and leaves the stream anywhere.
class ExpressionParser {
 public:
  // The stream outlives the parser.
  explicit ExpressionParser(TokenStream& tokens) : tokens_(tokens) {}

  absl::StatusOr<ExpressionPtr> ParseExpression();
  // Without if-else, for `for x in y if z`.
  absl::StatusOr<ExpressionPtr> ParseWithoutConditional() { return ParseBinary(kOr); }
  // One expression, or several with commas: a tuple without parentheses.
  absl::StatusOr<ExpressionPtr> ParseTuple(bool with_conditional);
  // name(arguments) | name …; the first name is next.
  absl::StatusOr<std::vector<FilterUse>> ParseFilterChain();

 private:
  enum Precedence { kOr, kAnd, kNot, kCompare, kAdd, kConcatenate, kMultiply, kPower, kUnary };

  absl::StatusOr<ExpressionPtr> ParseItem(bool with_conditional);
  absl::StatusOr<ExpressionPtr> ParseBinary(Precedence least);
  absl::StatusOr<ExpressionPtr> ParseOperand(Precedence least);
  absl::StatusOr<ExpressionPtr> ParseComparison(ExpressionPtr first);
  absl::StatusOr<ExpressionPtr> ParseConcatenation(ExpressionPtr first);
  absl::StatusOr<ExpressionPtr> ParseUnary(bool with_filters);
  absl::StatusOr<ExpressionPtr> ParsePrimary();
  absl::StatusOr<ExpressionPtr> ParseName();
  absl::StatusOr<ExpressionPtr> ParseParenthesised();
  absl::StatusOr<ExpressionPtr> ParseList();
  absl::StatusOr<ExpressionPtr> ParseDict();
  absl::StatusOr<ExpressionPtr> ParsePostfix(ExpressionPtr operand);
  absl::StatusOr<ExpressionPtr> ParseAttribute(ExpressionPtr object);
  absl::StatusOr<ExpressionPtr> ParseSubscript(ExpressionPtr object);
  absl::StatusOr<ExpressionPtr> ParseFilters(ExpressionPtr operand);
  absl::StatusOr<ExpressionPtr> ParseTest(ExpressionPtr operand);
  absl::StatusOr<FilterUse> ParseFilterUse();
  absl::StatusOr<CallArguments> ParseArguments();
  bool AtOperandOfTest() const;
  bool AtTupleEnd() const;

  TokenStream& tokens_;
};

}  // namespace transmla::jinja

#endif  // TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_EXPRESSION_PARSER_H_
