// What operators do to values: Python's rules and, where they fail, its words.
#ifndef TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_OPERATORS_H_
#define TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_OPERATORS_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "engine/tokenizer/template_value.h"

namespace transmla::jinja {

enum class BinaryOperator { kAdd, kSubtract, kMultiply, kDivide, kFloorDivide, kModulo, kPower };
enum class CompareOperator {
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kIn,
  kNotIn
};

// False for what is undefined, none, false, zero and empty.
bool Truth(const Value& value);

// InvalidArgument beyond 64 bits.
absl::StatusOr<Value> MakeInteger(Integer value);
// The value as floating point. REQUIRES: value.IsNumber().
double AsFloat(const Value& value);

absl::StatusOr<Value> Arithmetic(BinaryOperator op, const Value& left, const Value& right,
                                 Budget& budget);
absl::StatusOr<Value> Negate(const Value& value);

// Numbers by value, lists and objects by content.
absl::StatusOr<bool> Equals(const Value& left, const Value& right, Budget& budget);
absl::StatusOr<bool> Compare(CompareOperator op, const Value& left, const Value& right,
                             Budget& budget);

// object.name: a method, else an object's value. Undefined if there is neither; an error if
// `object` is undefined itself.
absl::StatusOr<Value> GetAttribute(const Value& object, absl::string_view name, Budget& budget);
// object[key]: an object's value or a list's item, else a method.
absl::StatusOr<Value> GetItem(const Value& object, const Value& key, Budget& budget);
// object[begin:end:step]; none stands for what is left out.
absl::StatusOr<Value> GetSlice(const Value& object, const Value& begin, const Value& end,
                               const Value& step, Budget& budget);

// What a loop goes through: items, keys, characters; nothing for undefined.
absl::StatusOr<ListPtr> Iterate(const Value& value, Budget& budget);
// Items, or characters of a text.
absl::StatusOr<int64_t> Length(const Value& value, Budget& budget);

// The error of using an undefined value, or one of `otherwise`.
absl::Status Misuse(const Value& value, std::string otherwise);

}  // namespace transmla::jinja

#endif  // TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_OPERATORS_H_
