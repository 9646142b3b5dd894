// The part of Evaluator for expressions.
#include <utility>

#include "absl/strings/str_cat.h"

#include "engine/base/status.h"
#include "engine/tokenizer/template_evaluator.h"
#include "engine/tokenizer/template_format.h"

namespace transmla::jinja {

absl::StatusOr<Value> Evaluator::Evaluate(const Expression& expression) {
  const absl::Status entered = Enter();
  if (!entered.ok()) {
    Fail(expression.line);
    return entered;
  }
  ++depth_;
  absl::StatusOr<Value> value =
      std::visit([this](const auto& node) { return Of(node); }, expression.node);
  --depth_;
  if (!value.ok()) Fail(expression.line);
  return value;
}

absl::StatusOr<Value> Evaluator::EvaluateOptional(const ExpressionPtr& expression) {
  if (expression == nullptr) return Value::None();
  return Evaluate(*expression);
}

absl::StatusOr<std::vector<Value>> Evaluator::EvaluateAll(
    const std::vector<ExpressionPtr>& expressions) {
  std::vector<Value> values;
  values.reserve(expressions.size());
  for (const ExpressionPtr& expression : expressions) {
    ASSIGN_OR_RETURN(Value value, Evaluate(*expression));
    values.push_back(std::move(value));
  }
  return values;
}

absl::StatusOr<Arguments> Evaluator::EvaluateArguments(const CallArguments& arguments) {
  Arguments values;
  ASSIGN_OR_RETURN(values.positional, EvaluateAll(arguments.positional));
  for (const auto& [name, expression] : arguments.keyword) {
    ASSIGN_OR_RETURN(Value value, Evaluate(*expression));
    values.keyword.emplace_back(name, std::move(value));
  }
  return values;
}

Value Evaluator::Lookup(const std::string& name) const {
  for (const Scope* scope = scope_; scope != nullptr; scope = scope->parent) {
    const auto found = scope->variables.find(name);
    if (found != scope->variables.end()) return found->second;
  }
  if (const Builtin function = FindFunction(name)) {
    return Value::Of(std::make_shared<const Callable>(Callable{name, function, Value(), nullptr}));
  }
  return Value::Undefined(absl::StrCat("'", name, "' is undefined"));
}

absl::StatusOr<Value> Evaluator::ApplyFilter(const FilterUse& filter, const Value& input) {
  if (filter.function == nullptr) {
    Fail(filter.line);
    return absl::InvalidArgumentError(absl::StrCat("No filter named '", filter.name, "'."));
  }
  ASSIGN_OR_RETURN(const Arguments arguments, EvaluateArguments(filter.arguments));
  return filter.function(runtime_, input, arguments);
}

absl::StatusOr<Value> Evaluator::Of(const Literal& node) { return node.value; }

absl::StatusOr<Value> Evaluator::Of(const Name& node) { return Lookup(node.name); }

absl::StatusOr<Value> Evaluator::Of(const ListLiteral& node) {
  ASSIGN_OR_RETURN(std::vector<Value> items, EvaluateAll(node.items));
  return node.is_tuple ? MakeTuple(std::move(items), runtime_.budget)
                       : MakeList(std::move(items), runtime_.budget);
}

absl::StatusOr<Value> Evaluator::Of(const DictLiteral& node) {
  auto dict = std::make_shared<Dict>();
  for (const auto& [key_expression, value_expression] : node.entries) {
    ASSIGN_OR_RETURN(const Value key, Evaluate(*key_expression));
    ASSIGN_OR_RETURN(Value value, Evaluate(*value_expression));
    if (key.IfText() == nullptr) {
      return Misuse(key, absl::StrCat("an object's key must be a text, not a ", key.TypeName()));
    }
    RETURN_IF_ERROR(dict->Set(*key.IfText(), std::move(value), runtime_.budget));
  }
  return Value::Of(std::shared_ptr<const Dict>(std::move(dict)));
}

absl::StatusOr<Value> Evaluator::Of(const Negation& node) {
  ASSIGN_OR_RETURN(const Value operand, Evaluate(*node.operand));
  return Negate(operand);
}

absl::StatusOr<Value> Evaluator::Of(const Not& node) {
  ASSIGN_OR_RETURN(const Value operand, Evaluate(*node.operand));
  return Value::Bool(!Truth(operand));
}

absl::StatusOr<Value> Evaluator::Of(const Logical& node) {
  ASSIGN_OR_RETURN(Value left, Evaluate(*node.left));
  if (Truth(left) != node.is_and) return left;
  return Evaluate(*node.right);
}

absl::StatusOr<Value> Evaluator::Of(const Binary& node) {
  ASSIGN_OR_RETURN(const Value left, Evaluate(*node.left));
  ASSIGN_OR_RETURN(const Value right, Evaluate(*node.right));
  return Arithmetic(node.op, left, right, runtime_.budget);
}

absl::StatusOr<Value> Evaluator::Of(const Concatenation& node) {
  TextBuilder text(runtime_.budget);
  for (const ExpressionPtr& part : node.parts) {
    ASSIGN_OR_RETURN(const Value value, Evaluate(*part));
    AppendStr(value, text);
  }
  return MakeText(text);
}

absl::StatusOr<Value> Evaluator::Of(const Comparison& node) {
  ASSIGN_OR_RETURN(Value left, Evaluate(*node.first));
  for (const auto& [op, operand] : node.rest) {
    ASSIGN_OR_RETURN(Value right, Evaluate(*operand));
    ASSIGN_OR_RETURN(const bool holds, Compare(op, left, right, runtime_.budget));
    if (!holds) return Value::Bool(false);
    left = std::move(right);
  }
  return Value::Bool(true);
}

absl::StatusOr<Value> Evaluator::Of(const Conditional& node) {
  ASSIGN_OR_RETURN(const Value condition, Evaluate(*node.condition));
  if (Truth(condition)) return Evaluate(*node.then);
  if (node.otherwise != nullptr) return Evaluate(*node.otherwise);
  return Value::Undefined(
      "the inline if-expression evaluated to false and no else section was defined");
}

absl::StatusOr<Value> Evaluator::Of(const Attribute& node) {
  ASSIGN_OR_RETURN(const Value object, Evaluate(*node.object));
  return GetAttribute(object, node.name, runtime_.budget);
}

absl::StatusOr<Value> Evaluator::Of(const Subscript& node) {
  ASSIGN_OR_RETURN(const Value object, Evaluate(*node.object));
  ASSIGN_OR_RETURN(const Value index, Evaluate(*node.index));
  return GetItem(object, index, runtime_.budget);
}

absl::StatusOr<Value> Evaluator::Of(const Slice& node) {
  ASSIGN_OR_RETURN(const Value object, Evaluate(*node.object));
  ASSIGN_OR_RETURN(const Value begin, EvaluateOptional(node.begin));
  ASSIGN_OR_RETURN(const Value end, EvaluateOptional(node.end));
  ASSIGN_OR_RETURN(const Value step, EvaluateOptional(node.step));
  return GetSlice(object, begin, end, step, runtime_.budget);
}

absl::StatusOr<Value> Evaluator::Of(const Call& node) {
  ASSIGN_OR_RETURN(const Value callee, Evaluate(*node.callee));
  const Callable* function = callee.IfCallable();
  if (function == nullptr) {
    return Misuse(callee, absl::StrCat("'", callee.TypeName(), "' object is not callable"));
  }
  ASSIGN_OR_RETURN(const Arguments arguments, EvaluateArguments(node.arguments));
  if (function->macro != nullptr) return CallMacro(*function->macro, arguments);
  return function->function(runtime_, function->self, arguments);
}

absl::StatusOr<Value> Evaluator::Of(const Filtered& node) {
  ASSIGN_OR_RETURN(const Value input, Evaluate(*node.input));
  return ApplyFilter(node.filter, input);
}

absl::StatusOr<Value> Evaluator::Of(const Tested& node) {
  ASSIGN_OR_RETURN(const Value input, Evaluate(*node.input));
  if (node.function == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("No test named '", node.name, "'."));
  }
  ASSIGN_OR_RETURN(const Arguments arguments, EvaluateArguments(node.arguments));
  ASSIGN_OR_RETURN(const Value answer, node.function(runtime_, input, arguments));
  return Value::Bool(Truth(answer) != node.negated);
}

}  // namespace transmla::jinja
