// What may follow `is`: Jinja's tests.
#include <cmath>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"

#include "engine/base/status.h"
#include "engine/tokenizer/template_callable.h"
#include "engine/tokenizer/template_format.h"
#include "engine/tokenizer/template_operators.h"
#include "engine/tokenizer/template_text.h"

namespace transmla::jinja {
namespace {

// A test of the value's kind alone.
template <bool (*Function)(const Value&)>
absl::StatusOr<Value> Kind(Runtime&, const Value& input, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("the test", arguments, {}).status());
  return Value::Bool(Function(input));
}

bool Defined(const Value& v) { return !v.IsUndefined(); }
bool Undefined(const Value& v) { return v.IsUndefined(); }
bool None(const Value& v) { return v.IsNone(); }
bool String(const Value& v) { return v.IfText() != nullptr; }
bool Number(const Value& v) { return v.IsNumber(); }
bool Boolean(const Value& v) { return v.IfBool() != nullptr; }
bool IsInteger(const Value& v) { return v.IfInt() != nullptr; }
bool IsFloat(const Value& v) { return v.IfFloat() != nullptr; }
bool Mapping(const Value& v) { return v.IfDict() != nullptr; }
bool IsCallable(const Value& v) { return v.IfCallable() != nullptr; }
bool IsTrue(const Value& v) { return v.IfBool() != nullptr && *v.IfBool(); }
bool IsFalse(const Value& v) { return v.IfBool() != nullptr && !*v.IfBool(); }
bool Sequence(const Value& v) {
  return v.IfText() != nullptr || v.IfList() != nullptr || v.IfDict() != nullptr || v.IsUndefined();
}
bool Iterable(const Value& v) { return Sequence(v) || v.IfLoop() != nullptr; }

template <CompareOperator Op>
absl::StatusOr<Value> Comparison(Runtime& runtime, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bind("the test", arguments, {"other"}));
  if (arguments.positional.empty() && arguments.keyword.empty()) {
    return absl::InvalidArgumentError("the test needs an argument");
  }
  ASSIGN_OR_RETURN(const bool answer, Compare(Op, input, bound[0], runtime.budget));
  return Value::Bool(answer);
}

// Whether input is a multiple of `divisor`, minus `offset`.
absl::StatusOr<Value> IsMultiple(Runtime& runtime, const Value& input, const Value& divisor,
                                 int offset) {
  ASSIGN_OR_RETURN(const Value remainder,
                   Arithmetic(BinaryOperator::kModulo, input, divisor, runtime.budget));
  ASSIGN_OR_RETURN(const bool answer, Equals(remainder, Value::Int(offset), runtime.budget));
  return Value::Bool(answer);
}

absl::StatusOr<Value> Odd(Runtime& runtime, const Value& input, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("odd", arguments, {}).status());
  return IsMultiple(runtime, input, Value::Int(2), 1);
}

absl::StatusOr<Value> Even(Runtime& runtime, const Value& input, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("even", arguments, {}).status());
  return IsMultiple(runtime, input, Value::Int(2), 0);
}

absl::StatusOr<Value> DivisibleBy(Runtime& runtime, const Value& input,
                                  const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bind("divisibleby", arguments, {"num"}, 1));
  return IsMultiple(runtime, input, bound[0], 0);
}

// A test of the printed value.
template <bool (*Function)(absl::string_view)>
absl::StatusOr<Value> OfText(Runtime& runtime, const Value& input, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("the test", arguments, {}).status());
  ASSIGN_OR_RETURN(const Value text, ToText(input, runtime.budget));
  RETURN_IF_ERROR(runtime.budget.Read(text.IfText()->size()));
  return Value::Bool(Function(*text.IfText()));
}

// Whether both are one and the same; for texts and numbers, which Python may or may not share,
// equality.
absl::StatusOr<Value> SameAs(Runtime& runtime, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bind("sameas", arguments, {"other"}, 1));
  const Value& other = bound[0];
  if (input.TypeName() != other.TypeName()) return Value::Bool(false);
  if (input.IfList() != nullptr) return Value::Bool(input.IfList() == other.IfList());
  if (input.IfDict() != nullptr) return Value::Bool(input.IfDict() == other.IfDict());
  ASSIGN_OR_RETURN(const bool equal, Equals(input, other, runtime.budget));
  return Value::Bool(equal);
}

}  // namespace

Builtin FindTest(absl::string_view name) {
  static const auto* const kTests = new absl::flat_hash_map<absl::string_view, Builtin>({
      {"!=", Comparison<CompareOperator::kNotEqual>},
      {"<", Comparison<CompareOperator::kLess>},
      {"<=", Comparison<CompareOperator::kLessEqual>},
      {"==", Comparison<CompareOperator::kEqual>},
      {">", Comparison<CompareOperator::kGreater>},
      {">=", Comparison<CompareOperator::kGreaterEqual>},
      {"boolean", Kind<Boolean>},
      {"callable", Kind<IsCallable>},
      {"defined", Kind<Defined>},
      {"divisibleby", DivisibleBy},
      {"eq", Comparison<CompareOperator::kEqual>},
      {"equalto", Comparison<CompareOperator::kEqual>},
      {"even", Even},
      {"false", Kind<IsFalse>},
      {"float", Kind<IsFloat>},
      {"ge", Comparison<CompareOperator::kGreaterEqual>},
      {"greaterthan", Comparison<CompareOperator::kGreater>},
      {"gt", Comparison<CompareOperator::kGreater>},
      {"in", Comparison<CompareOperator::kIn>},
      {"integer", Kind<IsInteger>},
      {"iterable", Kind<Iterable>},
      {"le", Comparison<CompareOperator::kLessEqual>},
      {"lessthan", Comparison<CompareOperator::kLess>},
      {"lower", OfText<IsLower>},
      {"lt", Comparison<CompareOperator::kLess>},
      {"mapping", Kind<Mapping>},
      {"ne", Comparison<CompareOperator::kNotEqual>},
      {"none", Kind<None>},
      {"number", Kind<Number>},
      {"odd", Odd},
      {"sameas", SameAs},
      {"sequence", Kind<Sequence>},
      {"string", Kind<String>},
      {"true", Kind<IsTrue>},
      {"undefined", Kind<Undefined>},
      {"upper", OfText<IsUpper>},
  });
  const auto found = kTests->find(name);
  return found == kTests->end() ? nullptr : found->second;
}

}  // namespace transmla::jinja
