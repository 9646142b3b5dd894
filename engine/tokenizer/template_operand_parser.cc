// The part of ExpressionParser for operands: literals, names, subscripts, calls, filters and tests.
#include <utility>

#include "absl/strings/str_cat.h"

#include "engine/base/status.h"
#include "engine/tokenizer/template_expression_parser.h"
#include "engine/tokenizer/template_literal.h"

namespace transmla::jinja {
namespace {

absl::StatusOr<ExpressionPtr> MakeLiteral(int line, absl::StatusOr<Value> value) {
  if (!value.ok()) return TemplateError(line, value.status().message());
  return MakeExpression(line, Literal{*std::move(value)});
}

}  // namespace

absl::StatusOr<ExpressionPtr> ExpressionParser::ParsePrimary() {
  const int line = tokens_.line();
  switch (tokens_.current().kind) {
    case TokenKind::kName:
      return ParseName();
    case TokenKind::kInteger:
      return MakeLiteral(line, ReadInteger(tokens_.Pass().text));
    case TokenKind::kFloat:
      return MakeLiteral(line, ReadFloat(tokens_.Pass().text));
    case TokenKind::kText: {
      std::string text = tokens_.Pass().text;
      while (tokens_.current().kind == TokenKind::kText) text += tokens_.Pass().text;
      return MakeLiteral(line, Value::Text(std::move(text)));
    }
    default:
      break;
  }
  if (tokens_.IsOperator("(")) return ParseParenthesised();
  if (tokens_.IsOperator("[")) return ParseList();
  if (tokens_.IsOperator("{")) return ParseDict();
  return tokens_.Unexpected("an expression");
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseName() {
  Token name = tokens_.Pass();
  if (name.text == "true" || name.text == "True") return MakeLiteral(name.line, Value::Bool(true));
  if (name.text == "false" || name.text == "False") {
    return MakeLiteral(name.line, Value::Bool(false));
  }
  if (name.text == "none" || name.text == "None") return MakeLiteral(name.line, Value::None());
  return MakeExpression(name.line, Name{std::move(name.text)});
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseParenthesised() {
  const int line = tokens_.Pass().line;
  if (tokens_.PassOperator(")")) return MakeExpression(line, ListLiteral{{}, /*is_tuple=*/true});
  ASSIGN_OR_RETURN(ExpressionPtr inside, ParseTuple(/*with_conditional=*/true));
  RETURN_IF_ERROR(tokens_.ExpectOperator(")"));
  return inside;
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseList() {
  const int line = tokens_.Pass().line;
  ListLiteral list;
  while (!tokens_.PassOperator("]")) {
    if (!list.items.empty()) {
      RETURN_IF_ERROR(tokens_.ExpectOperator(","));
      if (tokens_.PassOperator("]")) break;
    }
    ASSIGN_OR_RETURN(ExpressionPtr item, ParseExpression());
    list.items.push_back(std::move(item));
  }
  return MakeExpression(line, std::move(list));
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseDict() {
  const int line = tokens_.Pass().line;
  DictLiteral dict;
  while (!tokens_.PassOperator("}")) {
    if (!dict.entries.empty()) {
      RETURN_IF_ERROR(tokens_.ExpectOperator(","));
      if (tokens_.PassOperator("}")) break;
    }
    ASSIGN_OR_RETURN(ExpressionPtr key, ParseExpression());
    RETURN_IF_ERROR(tokens_.ExpectOperator(":"));
    ASSIGN_OR_RETURN(ExpressionPtr value, ParseExpression());
    dict.entries.emplace_back(std::move(key), std::move(value));
  }
  return MakeExpression(line, std::move(dict));
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParsePostfix(ExpressionPtr operand) {
  while (true) {
    if (tokens_.IsOperator(".")) {
      ASSIGN_OR_RETURN(operand, ParseAttribute(std::move(operand)));
    } else if (tokens_.IsOperator("[")) {
      ASSIGN_OR_RETURN(operand, ParseSubscript(std::move(operand)));
    } else if (tokens_.IsOperator("(")) {
      const int line = tokens_.line();
      ASSIGN_OR_RETURN(CallArguments arguments, ParseArguments());
      ASSIGN_OR_RETURN(operand,
                       MakeExpression(line, Call{std::move(operand), std::move(arguments)}));
    } else {
      return operand;
    }
  }
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseAttribute(ExpressionPtr object) {
  const int line = tokens_.Pass().line;
  if (tokens_.current().kind == TokenKind::kInteger) {  // list.0
    ASSIGN_OR_RETURN(ExpressionPtr index, MakeLiteral(line, ReadInteger(tokens_.Pass().text)));
    return MakeExpression(line, Subscript{std::move(object), std::move(index)});
  }
  ASSIGN_OR_RETURN(std::string name, tokens_.ExpectAnyName());
  return MakeExpression(line, Attribute{std::move(object), std::move(name)});
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseSubscript(ExpressionPtr object) {
  const int line = tokens_.Pass().line;
  ExpressionPtr parts[3];
  int colons = 0;
  while (!tokens_.IsOperator("]")) {
    if (colons < 2 && tokens_.PassOperator(":")) {
      ++colons;
    } else if (parts[colons] != nullptr) {
      return tokens_.Unexpected("']'");
    } else {
      ASSIGN_OR_RETURN(parts[colons], ParseExpression());
    }
  }
  if (colons == 0 && parts[0] == nullptr) return tokens_.Unexpected("an expression");
  tokens_.Pass();
  if (colons == 0) return MakeExpression(line, Subscript{std::move(object), std::move(parts[0])});
  return MakeExpression(line, Slice{std::move(object), std::move(parts[0]), std::move(parts[1]),
                                    std::move(parts[2])});
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseFilters(ExpressionPtr operand) {
  while (true) {
    const int line = tokens_.line();
    if (tokens_.PassOperator("|")) {
      ASSIGN_OR_RETURN(FilterUse filter, ParseFilterUse());
      ASSIGN_OR_RETURN(operand,
                       MakeExpression(line, Filtered{std::move(operand), std::move(filter)}));
    } else if (tokens_.PassName("is")) {
      ASSIGN_OR_RETURN(operand, ParseTest(std::move(operand)));
    } else if (tokens_.IsOperator("(")) {
      ASSIGN_OR_RETURN(CallArguments arguments, ParseArguments());
      ASSIGN_OR_RETURN(operand,
                       MakeExpression(line, Call{std::move(operand), std::move(arguments)}));
    } else {
      return operand;
    }
  }
}

// A test's only argument may stand without parentheses: `x is divisibleby 3`.
bool ExpressionParser::AtOperandOfTest() const {
  switch (tokens_.current().kind) {
    case TokenKind::kName:
      return !tokens_.IsName("else") && !tokens_.IsName("or") && !tokens_.IsName("and");
    case TokenKind::kText:
    case TokenKind::kInteger:
    case TokenKind::kFloat:
      return true;
    default:
      return tokens_.IsOperator("[") || tokens_.IsOperator("{");
  }
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseTest(ExpressionPtr operand) {
  Tested test;
  const int line = tokens_.line();
  test.input = std::move(operand);
  test.negated = tokens_.PassName("not");
  ASSIGN_OR_RETURN(test.name, tokens_.ExpectAnyName());
  test.function = FindTest(test.name);
  if (tokens_.IsOperator("(")) {
    ASSIGN_OR_RETURN(test.arguments, ParseArguments());
  } else if (AtOperandOfTest()) {
    if (tokens_.IsName("is")) return tokens_.Unexpected("anything but a second test");
    ASSIGN_OR_RETURN(ExpressionPtr argument, ParsePrimary());
    ASSIGN_OR_RETURN(argument, ParsePostfix(std::move(argument)));
    test.arguments.positional.push_back(std::move(argument));
  }
  return MakeExpression(line, std::move(test));
}

absl::StatusOr<FilterUse> ExpressionParser::ParseFilterUse() {
  FilterUse filter;
  filter.line = tokens_.line();
  ASSIGN_OR_RETURN(filter.name, tokens_.ExpectAnyName());
  filter.function = FindFilter(filter.name);
  if (tokens_.IsOperator("(")) {
    ASSIGN_OR_RETURN(filter.arguments, ParseArguments());
  }
  return filter;
}

absl::StatusOr<std::vector<FilterUse>> ExpressionParser::ParseFilterChain() {
  std::vector<FilterUse> filters;
  do {
    ASSIGN_OR_RETURN(FilterUse filter, ParseFilterUse());
    filters.push_back(std::move(filter));
  } while (tokens_.PassOperator("|"));
  return filters;
}

absl::StatusOr<CallArguments> ExpressionParser::ParseArguments() {
  tokens_.Pass();
  CallArguments arguments;
  bool first = true;
  while (!tokens_.PassOperator(")")) {
    if (!first) {
      RETURN_IF_ERROR(tokens_.ExpectOperator(","));
      if (tokens_.PassOperator(")")) break;
    }
    first = false;
    const int line = tokens_.line();
    if (tokens_.IsOperator("*") || tokens_.IsOperator("**")) {
      return TemplateError(line, "arguments from a list or an object (*, **) are not supported");
    }
    if (tokens_.current().kind == TokenKind::kName &&
        tokens_.next().Is(TokenKind::kOperator, "=")) {
      std::string name = tokens_.Pass().text;
      tokens_.Pass();
      ASSIGN_OR_RETURN(ExpressionPtr value, ParseExpression());
      arguments.keyword.emplace_back(std::move(name), std::move(value));
    } else if (!arguments.keyword.empty()) {
      return TemplateError(line, "an argument without a name follows one with a name");
    } else {
      ASSIGN_OR_RETURN(ExpressionPtr value, ParseExpression());
      arguments.positional.push_back(std::move(value));
    }
  }
  return arguments;
}

}  // namespace transmla::jinja
