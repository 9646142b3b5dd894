#include "engine/tokenizer/template_sequence_filters.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"

#include "engine/base/status.h"
#include "engine/tokenizer/template_format.h"
#include "engine/tokenizer/template_operators.h"
#include "engine/tokenizer/template_text.h"

namespace transmla::jinja {

absl::StatusOr<Value> AttributeOf(const Value& item, const Value& attribute, Budget& budget) {
  if (attribute.IsUndefined() || attribute.IsNone()) return item;
  const std::string* path = attribute.IfText();
  if (path == nullptr) return GetItem(item, attribute, budget);
  Value value = item;
  for (const absl::string_view part : absl::StrSplit(*path, '.')) {
    int64_t index = 0;
    const bool is_index = !part.empty() &&
                          std::all_of(part.begin(), part.end(), absl::ascii_isdigit) &&
                          absl::SimpleAtoi(part, &index);
    ASSIGN_OR_RETURN(const Value key, is_index ? Value::Int(index) : MakeText(part, budget));
    ASSIGN_OR_RETURN(value, GetItem(value, key, budget));
  }
  return value;
}

absl::StatusOr<Value> LengthFilter(Runtime& runtime, const Value& input,
                                   const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("length", arguments, {}).status());
  ASSIGN_OR_RETURN(const int64_t length, Length(input, runtime.budget));
  return Value::Int(length);
}

absl::StatusOr<Value> FirstFilter(Runtime& runtime, const Value& input,
                                  const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("first", arguments, {}).status());
  ASSIGN_OR_RETURN(const ListPtr list, Iterate(input, runtime.budget));
  return list->items.empty() ? Value::Undefined("No first item, sequence was empty.")
                             : list->items.front();
}

absl::StatusOr<Value> LastFilter(Runtime& runtime, const Value& input, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("last", arguments, {}).status());
  ASSIGN_OR_RETURN(const ListPtr list, Iterate(input, runtime.budget));
  return list->items.empty() ? Value::Undefined("No last item, sequence was empty.")
                             : list->items.back();
}

absl::StatusOr<Value> ListFilter(Runtime& runtime, const Value& input, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("list", arguments, {}).status());
  ASSIGN_OR_RETURN(const ListPtr list, Iterate(input, runtime.budget));
  return list->is_tuple ? MakeList(list->items, runtime.budget) : Value::Of(list);
}

absl::StatusOr<Value> ItemsFilter(Runtime& runtime, const Value& input,
                                  const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("items", arguments, {}).status());
  std::vector<Value> pairs;
  if (const Dict* dict = input.IfDict()) {
    for (const Dict::Entry& entry : dict->entries()) {
      ASSIGN_OR_RETURN(Value pair,
                       MakeTuple({Value::Text(entry.key), entry.value}, runtime.budget));
      pairs.push_back(std::move(pair));
    }
  } else if (!input.IsUndefined()) {
    return absl::InvalidArgumentError("Can only get item pairs from a mapping.");
  }
  return MakeList(std::move(pairs), runtime.budget);
}

absl::StatusOr<Value> JoinFilter(Runtime& runtime, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bind("join", arguments, {"d", "attribute"}));
  ASSIGN_OR_RETURN(const ListPtr list, Iterate(input, runtime.budget));
  ASSIGN_OR_RETURN(const Value separator, ToText(bound[0], runtime.budget));
  TextBuilder out(runtime.budget);
  for (size_t i = 0; i < list->items.size() && out.ok(); ++i) {
    if (i > 0) out.Append(*separator.IfText());
    ASSIGN_OR_RETURN(const Value item, AttributeOf(list->items[i], bound[1], runtime.budget));
    AppendStr(item, out);
  }
  return MakeText(out);
}

absl::StatusOr<Value> ReverseFilter(Runtime& runtime, const Value& input,
                                    const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("reverse", arguments, {}).status());
  if (input.IfText() != nullptr) {
    return GetSlice(input, Value::None(), Value::None(), Value::Int(-1), runtime.budget);
  }
  ASSIGN_OR_RETURN(const ListPtr list, Iterate(input, runtime.budget));
  return MakeList({list->items.rbegin(), list->items.rend()}, runtime.budget);
}

absl::StatusOr<Value> SumFilter(Runtime& runtime, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bind("sum", arguments, {"attribute", "start"}));
  ASSIGN_OR_RETURN(const ListPtr list, Iterate(input, runtime.budget));
  Value sum = bound.Given(1) ? bound[1] : Value::Int(0);
  for (const Value& element : list->items) {
    ASSIGN_OR_RETURN(const Value item, AttributeOf(element, bound[0], runtime.budget));
    RETURN_IF_ERROR(runtime.budget.Steps(1));
    ASSIGN_OR_RETURN(sum, Arithmetic(BinaryOperator::kAdd, sum, item, runtime.budget));
  }
  return sum;
}

}  // namespace transmla::jinja
