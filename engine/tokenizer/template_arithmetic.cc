// The part of template_operators.h about numbers, and + and * of texts and lists.
#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "engine/base/status.h"
#include "engine/tokenizer/template_operators.h"

namespace transmla::jinja {
namespace {

constexpr Integer kMinInteger = std::numeric_limits<int64_t>::min();
constexpr Integer kMaxInteger = std::numeric_limits<uint64_t>::max();

absl::string_view Symbol(BinaryOperator op) {
  static constexpr absl::string_view kSymbols[] = {"+", "-", "*", "/", "//", "%", "** or pow()"};
  return kSymbols[static_cast<int>(op)];
}

absl::Status Unsupported(BinaryOperator op, const Value& left, const Value& right) {
  if (left.IsUndefined()) return absl::InvalidArgumentError(left.reason());
  if (right.IsUndefined()) return absl::InvalidArgumentError(right.reason());
  if (op == BinaryOperator::kAdd && (left.IfText() != nullptr || left.IfList() != nullptr)) {
    return absl::InvalidArgumentError(absl::StrCat("can only concatenate ", left.TypeName(),
                                                   " (not \"", right.TypeName(), "\") to ",
                                                   left.TypeName()));
  }
  return absl::InvalidArgumentError(absl::StrCat("unsupported operand type(s) for ", Symbol(op),
                                                 ": '", left.TypeName(), "' and '",
                                                 right.TypeName(), "'"));
}

// A bool counts as 0 or 1. REQUIRES: value is a bool or an integer.
Integer AsInteger(const Value& value) {
  if (const bool* flag = value.IfBool()) return *flag ? 1 : 0;
  return *value.IfInt();
}

absl::StatusOr<Value> Multiply(Integer left, Integer right) {
  const auto magnitude = [](Integer x) { return static_cast<absl::uint128>(x < 0 ? -x : x); };
  // Each is at most 2^64 - 1, so the product does not overflow.
  const absl::uint128 product = magnitude(left) * magnitude(right);
  if (product > static_cast<absl::uint128>(kMaxInteger)) return MakeInteger(kMaxInteger + 1);
  const auto size = static_cast<Integer>(product);
  return MakeInteger((left < 0) != (right < 0) ? -size : size);
}

absl::StatusOr<Value> Power(Integer base, Integer exponent) {
  if (exponent < 0) {
    if (base == 0) return absl::InvalidArgumentError("0 cannot be raised to a negative power");
    return Value::Float(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  }
  if (base == 0 || base == 1 || base == -1) {
    return Value::Int(exponent == 0 ? 1 : base == -1 && exponent % 2 == 0 ? 1 : base);
  }
  Value result = Value::Int(1);  // doubles at least each time, so the loop is short
  for (Integer i = 0; i < exponent; ++i) {
    ASSIGN_OR_RETURN(result, Multiply(*result.IfInt(), base));
  }
  return result;
}

absl::StatusOr<Value> OfIntegers(BinaryOperator op, Integer left, Integer right) {
  switch (op) {
    case BinaryOperator::kAdd:
      return MakeInteger(left + right);
    case BinaryOperator::kSubtract:
      return MakeInteger(left - right);
    case BinaryOperator::kMultiply:
      return Multiply(left, right);
    case BinaryOperator::kPower:
      return Power(left, right);
    default:
      break;
  }
  if (right == 0) return absl::InvalidArgumentError("division by zero");
  if (op == BinaryOperator::kDivide) {
    return Value::Float(static_cast<double>(left) / static_cast<double>(right));
  }
  // Python rounds towards minus infinity: the remainder has the divisor's sign.
  Integer quotient = left / right, remainder = left % right;
  if (remainder != 0 && (remainder < 0) != (right < 0)) {
    quotient -= 1;
    remainder += right;
  }
  return MakeInteger(op == BinaryOperator::kModulo ? remainder : quotient);
}

absl::StatusOr<Value> OfFloats(BinaryOperator op, double left, double right) {
  switch (op) {
    case BinaryOperator::kAdd:
      return Value::Float(left + right);
    case BinaryOperator::kSubtract:
      return Value::Float(left - right);
    case BinaryOperator::kMultiply:
      return Value::Float(left * right);
    case BinaryOperator::kPower: {
      const double power = std::pow(left, right);
      if (std::isfinite(power) || !std::isfinite(left) || !std::isfinite(right)) {
        return Value::Float(power);
      }
      return absl::InvalidArgumentError("the power is no finite real number");
    }
    default:
      break;
  }
  if (right == 0) return absl::InvalidArgumentError("division by zero");
  if (op == BinaryOperator::kDivide) return Value::Float(left / right);
  double remainder = std::fmod(left, right);
  if (remainder != 0 && (remainder < 0) != (right < 0)) remainder += right;
  if (op == BinaryOperator::kModulo) return Value::Float(remainder);
  return Value::Float(std::floor((left - remainder) / right));
}

absl::StatusOr<Value> Repeat(const Value& value, Integer times, Budget& budget) {
  if (times < 0) times = 0;
  if (const std::string* text = value.IfText()) {
    TextBuilder builder(budget);
    if (text->empty()) times = 0;
    for (Integer i = 0; i < times && builder.ok(); ++i) builder.Append(*text);
    return MakeText(builder);
  }
  const List& list = *value.IfList();
  std::vector<Value> items;
  if (list.items.empty()) times = 0;
  for (Integer i = 0; i < times; ++i) {
    RETURN_IF_ERROR(budget.Write(list.items.size() * sizeof(Value)));
    items.insert(items.end(), list.items.begin(), list.items.end());
  }
  return list.is_tuple ? MakeTuple(std::move(items), budget) : MakeList(std::move(items), budget);
}

absl::StatusOr<Value> Join(const List& left, const List& right, Budget& budget) {
  RETURN_IF_ERROR(budget.Steps(static_cast<int64_t>(left.items.size() + right.items.size())));
  std::vector<Value> items = left.items;
  items.insert(items.end(), right.items.begin(), right.items.end());
  return left.is_tuple ? MakeTuple(std::move(items), budget) : MakeList(std::move(items), budget);
}

}  // namespace

absl::StatusOr<Value> MakeInteger(Integer value) {
  if (value >= kMinInteger && value <= kMaxInteger) return Value::Int(value);
  return absl::InvalidArgumentError("an integer does not fit into 64 bits");
}

double AsFloat(const Value& value) {
  if (const double* number = value.IfFloat()) return *number;
  return static_cast<double>(AsInteger(value));
}

absl::StatusOr<Value> Arithmetic(BinaryOperator op, const Value& left, const Value& right,
                                 Budget& budget) {
  if (left.IsNumber() && right.IsNumber()) {
    if (left.IfFloat() != nullptr || right.IfFloat() != nullptr) {
      return OfFloats(op, AsFloat(left), AsFloat(right));
    }
    return OfIntegers(op, AsInteger(left), AsInteger(right));
  }
  if (op == BinaryOperator::kAdd) {
    const std::string *first = left.IfText(), *second = right.IfText();
    if (first != nullptr && second != nullptr) {
      TextBuilder builder(budget);
      builder.Append(*first);
      builder.Append(*second);
      return MakeText(builder);
    }
    const List *head = left.IfList(), *tail = right.IfList();
    if (head != nullptr && tail != nullptr && head->is_tuple == tail->is_tuple) {
      return Join(*head, *tail, budget);
    }
  }
  const auto is_sequence = [](const Value& v) { return v.IfText() != nullptr || v.IfList(); };
  const auto is_integer = [](const Value& v) { return v.IfInt() != nullptr || v.IfBool(); };
  if (op == BinaryOperator::kMultiply) {
    if (is_sequence(left) && is_integer(right)) return Repeat(left, AsInteger(right), budget);
    if (is_integer(left) && is_sequence(right)) return Repeat(right, AsInteger(left), budget);
  }
  return Unsupported(op, left, right);
}

absl::StatusOr<Value> Negate(const Value& value) {
  if (const double* number = value.IfFloat()) return Value::Float(-*number);
  if (value.IsNumber()) return MakeInteger(-AsInteger(value));
  return Misuse(value, absl::StrCat("bad operand type for unary -: '", value.TypeName(), "'"));
}

}  // namespace transmla::jinja
