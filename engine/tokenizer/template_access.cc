// The part of template_operators.h about attributes, items, slices and iteration.
#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "engine/base/status.h"
#include "engine/tokenizer/template_callable.h"
#include "engine/tokenizer/template_format.h"
#include "engine/tokenizer/template_operators.h"
#include "engine/tokenizer/template_text.h"

namespace transmla::jinja {
namespace {

// As Jinja names an operand: "dict object", "None".
std::string Describe(const Value& value) {
  if (value.IsNone()) return "None";
  return absl::StrCat(value.TypeName(), " object");
}

absl::StatusOr<Value> LoopAttribute(const Loop& loop, absl::string_view name) {
  const auto length = static_cast<int64_t>(loop.items->items.size());
  const auto index = static_cast<int64_t>(loop.index);
  if (name == "index") return Value::Int(index + 1);
  if (name == "index0") return Value::Int(index);
  if (name == "revindex") return Value::Int(length - index);
  if (name == "revindex0") return Value::Int(length - index - 1);
  if (name == "first") return Value::Bool(index == 0);
  if (name == "last") return Value::Bool(index + 1 == length);
  if (name == "length") return Value::Int(length);
  if (name == "depth") return Value::Int(1);  // counts recursive loops only
  if (name == "depth0") return Value::Int(0);
  if (name == "previtem") {
    return index > 0 ? loop.items->items[loop.index - 1]
                     : Value::Undefined("there is no previous item");
  }
  if (name == "nextitem") {
    return index + 1 < length ? loop.items->items[loop.index + 1]
                              : Value::Undefined("there is no next item");
  }
  return Value::Undefined(absl::StrCat("the loop variable has no attribute '", name, "'"));
}

// What a sandbox forbids: methods that change a list or an object.
bool IsForbidden(const Value& object, absl::string_view name) {
  static constexpr absl::string_view kOfLists[] = {"append", "clear",   "extend", "insert",
                                                   "pop",    "reverse", "remove", "sort"};
  static constexpr absl::string_view kOfDicts[] = {"clear", "pop", "popitem", "setdefault",
                                                   "update"};
  const auto has = [&](const auto& names) {
    return std::find(std::begin(names), std::end(names), name) != std::end(names);
  };
  return (object.IfList() != nullptr && has(kOfLists)) ||
         (object.IfDict() != nullptr && has(kOfDicts));
}

// A method; a forbidden one as an undefined value that says so.
std::optional<Value> Method(const Value& object, absl::string_view name) {
  if (const Builtin function = FindMethod(object, name)) {
    return Value::Of(
        std::make_shared<const Callable>(Callable{std::string(name), function, object, nullptr}));
  }
  if (!IsForbidden(object, name)) return std::nullopt;
  return Value::Undefined(absl::StrCat("access to attribute '", name, "' of '", object.TypeName(),
                                       "' object is unsafe."));
}

// Undefined if the index is outside. REQUIRES: object is a list or a text.
absl::StatusOr<Value> ItemAt(const Value& object, Integer index, Budget& budget) {
  ASSIGN_OR_RETURN(const int64_t length, Length(object, budget));
  if (index < 0) index += length;
  if (index < 0 || index >= length) {
    return Value::Undefined(absl::StrCat(Describe(object), " has no element ",
                                         FormatInteger(index < 0 ? index - length : index)));
  }
  const auto i = static_cast<size_t>(index);
  if (const List* list = object.IfList()) return list->items[i];
  const std::string& text = *object.IfText();
  if (static_cast<size_t>(length) == text.size()) return MakeText(text.substr(i, 1), budget);
  const std::vector<uint32_t> offsets = CodePointOffsets(text);
  return MakeText(text.substr(offsets[i], offsets[i + 1] - offsets[i]), budget);
}

// A slice's bounds as Python clips them.
struct Range {
  int64_t begin = 0, step = 1, count = 0;
};

absl::StatusOr<Range> Clip(const Value& begin, const Value& end, const Value& step,
                           int64_t length) {
  const Bound bound({begin, end, step});
  for (size_t i = 0; i < 3; ++i) {
    if (!bound.Given(i)) return absl::InvalidArgumentError(bound[i].reason());
  }
  Range range;
  ASSIGN_OR_RETURN(range.step, bound.Int(2, 1));
  if (range.step == 0) return absl::InvalidArgumentError("slice step cannot be zero");
  range.step = std::clamp(range.step, -length - 1, length + 1);
  const int64_t low = range.step > 0 ? 0 : -1, high = range.step > 0 ? length : length - 1;
  const auto place = [&](int64_t i) {
    return i < 0 ? std::max(i < -length ? low : i + length, low) : std::min(i, high);
  };
  int64_t from = range.step > 0 ? low : high, to = range.step > 0 ? high : low;
  if (!begin.IsNone()) {
    ASSIGN_OR_RETURN(from, bound.Int(0, 0));
    from = place(from);
  }
  if (!end.IsNone()) {
    ASSIGN_OR_RETURN(to, bound.Int(1, 0));
    to = place(to);
  }
  range.begin = from;
  const int64_t distance = range.step > 0 ? to - from : from - to;
  const int64_t stride = std::abs(range.step);
  range.count = distance > 0 ? (distance + stride - 1) / stride : 0;
  return range;
}

}  // namespace

absl::Status Misuse(const Value& value, std::string otherwise) {
  if (value.IsUndefined()) return absl::InvalidArgumentError(value.reason());
  return absl::InvalidArgumentError(std::move(otherwise));
}

absl::StatusOr<Value> GetAttribute(const Value& object, absl::string_view name, Budget& budget) {
  RETURN_IF_ERROR(budget.Steps(1));
  if (object.IsUndefined()) return absl::InvalidArgumentError(object.reason());
  if (const auto method = Method(object, name)) return *method;
  if (const Dict* dict = object.IfDict()) {
    if (const Value* found = dict->Find(name)) return *found;
  } else if (const Namespace* fields = object.IfNamespace()) {
    const auto found = fields->fields.find(name);
    if (found != fields->fields.end()) return found->second;
  } else if (const Loop* loop = object.IfLoop()) {
    return LoopAttribute(*loop, name);
  }
  return Value::Undefined(absl::StrCat("'", Describe(object), "' has no attribute '", name, "'"));
}

absl::StatusOr<Value> GetItem(const Value& object, const Value& key, Budget& budget) {
  RETURN_IF_ERROR(budget.Steps(1));
  if (object.IsUndefined()) return absl::InvalidArgumentError(object.reason());
  if (key.IsUndefined()) return absl::InvalidArgumentError(key.reason());
  if (const std::string* name = key.IfText()) {
    if (const Dict* dict = object.IfDict()) {
      if (const Value* found = dict->Find(*name)) return *found;
    }
    return GetAttribute(object, *name, budget);
  }
  const bool* flag = key.IfBool();
  if ((key.IfInt() != nullptr || flag != nullptr) &&
      (object.IfList() != nullptr || object.IfText() != nullptr)) {
    return ItemAt(object, flag != nullptr ? Integer(*flag ? 1 : 0) : *key.IfInt(), budget);
  }
  TextBuilder printed(budget);
  AppendRepr(key, printed);
  if (!printed.ok()) return printed.status();
  return Value::Undefined(absl::StrCat(Describe(object), " has no element ", printed.Take()));
}

absl::StatusOr<Value> GetSlice(const Value& object, const Value& begin, const Value& end,
                               const Value& step, Budget& budget) {
  const List* list = object.IfList();
  if (list == nullptr && object.IfText() == nullptr) {
    return Misuse(object, absl::StrCat("a ", object.TypeName(), " cannot be sliced"));
  }
  ASSIGN_OR_RETURN(const int64_t length, Length(object, budget));
  ASSIGN_OR_RETURN(const Range range, Clip(begin, end, step, length));
  RETURN_IF_ERROR(budget.Steps(range.count));
  if (list != nullptr) {
    std::vector<Value> items;
    for (int64_t i = 0; i < range.count; ++i) {
      items.push_back(list->items[static_cast<size_t>(range.begin + i * range.step)]);
    }
    return list->is_tuple ? MakeTuple(std::move(items), budget)
                          : MakeList(std::move(items), budget);
  }
  const std::string& text = *object.IfText();
  if (range.step == 1 && static_cast<size_t>(length) == text.size()) {
    return MakeText(absl::string_view(text).substr(static_cast<size_t>(range.begin),
                                                   static_cast<size_t>(range.count)),
                    budget);
  }
  RETURN_IF_ERROR(budget.Write(sizeof(uint32_t) * static_cast<size_t>(length)));
  const std::vector<uint32_t> offsets = CodePointOffsets(text);
  std::string slice;
  for (int64_t i = 0; i < range.count; ++i) {
    const auto at = static_cast<size_t>(range.begin + i * range.step);
    slice.append(text, offsets[at], offsets[at + 1] - offsets[at]);
  }
  return MakeText(slice, budget);
}

absl::StatusOr<ListPtr> Iterate(const Value& value, Budget& budget) {
  if (value.IfList() != nullptr) return value.AsList();
  std::vector<Value> items;
  if (const Dict* dict = value.IfDict()) {
    RETURN_IF_ERROR(budget.Write(dict->entries().size() * sizeof(Value)));
    for (const Dict::Entry& entry : dict->entries()) items.push_back(Value::Text(entry.key));
  } else if (const std::string* text = value.IfText()) {
    // A character takes some 64 bytes as a text of its own.
    RETURN_IF_ERROR(budget.Write(static_cast<size_t>(CountCodePoints(*text)) * 64));
    const std::vector<uint32_t> offsets = CodePointOffsets(*text);
    for (size_t i = 0; i + 1 < offsets.size(); ++i) {
      items.push_back(Value::Text(text->substr(offsets[i], offsets[i + 1] - offsets[i])));
    }
  } else if (!value.IsUndefined()) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", value.TypeName(), "' object is not iterable"));
  }
  ASSIGN_OR_RETURN(const Value list, MakeList(std::move(items), budget));
  return list.AsList();
}

absl::StatusOr<int64_t> Length(const Value& value, Budget& budget) {
  if (value.IsUndefined()) return 0;
  if (const List* list = value.IfList()) return static_cast<int64_t>(list->items.size());
  if (const Dict* dict = value.IfDict()) return static_cast<int64_t>(dict->entries().size());
  if (const std::string* text = value.IfText()) {
    RETURN_IF_ERROR(budget.Read(text->size()));
    return CountCodePoints(*text);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("object of type '", value.TypeName(), "' has no len()"));
}

}  // namespace transmla::jinja
