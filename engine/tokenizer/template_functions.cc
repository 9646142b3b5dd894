// Functions of the template's language, and methods of what is not text.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

#include "engine/base/status.h"
#include "engine/tokenizer/template_callable.h"
#include "engine/tokenizer/template_format.h"
#include "engine/tokenizer/template_limits.h"
#include "engine/tokenizer/template_operators.h"
#include "engine/tokenizer/template_sequence_filters.h"
#include "engine/tokenizer/template_text_methods.h"

namespace transmla::jinja {
namespace {

// --- functions ---

absl::StatusOr<Value> RaiseException(Runtime& runtime, const Value&, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bind("raise_exception", arguments, {"message"}, 1));
  ASSIGN_OR_RETURN(const Value message, ToText(bound[0], runtime.budget));
  runtime.refused = true;
  return absl::InvalidArgumentError(*message.IfText());
}

// Local time, as Hugging Face does.
absl::StatusOr<Value> StrftimeNow(Runtime& runtime, const Value&, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bind("strftime_now", arguments, {"format"}, 1));
  ASSIGN_OR_RETURN(const absl::string_view format, bound.Text(0, ""));
  RETURN_IF_ERROR(runtime.budget.Write(8 * format.size()));
  // Only what means the same in Python and here, and needs no locale.
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%') continue;
    ++i;
    if (i < format.size() &&
        absl::string_view("aAbBdHIjmMpSyY%").find(format[i]) != absl::string_view::npos) {
      continue;
    }
    return absl::InvalidArgumentError(
        absl::StrCat("strftime_now: the directive '%", format.substr(i, 1),
                     "' is not supported; of Python's, a A b B d H I j m M p S y Y and % are"));
  }
  return MakeText(absl::FormatTime(format, runtime.clock->Now(), absl::LocalTimeZone()),
                  runtime.budget);
}

absl::StatusOr<Value> Range(Runtime& runtime, const Value&, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bind("range", arguments, {"start", "stop", "step"}, 1));
  ASSIGN_OR_RETURN(int64_t start, bound.Int(0, 0));
  ASSIGN_OR_RETURN(int64_t stop, bound.Int(1, 0));
  ASSIGN_OR_RETURN(const int64_t step, bound.Int(2, 1));
  if (step == 0) return absl::InvalidArgumentError("range() arg 3 must not be zero");
  if (!bound.Given(1)) stop = std::exchange(start, 0);
  std::vector<Value> items;
  for (Integer i = start; step > 0 ? i < stop : i > stop; i += step) {
    if (static_cast<int64_t>(items.size()) == kMaxRangeItems) {
      return absl::InvalidArgumentError(
          absl::StrCat("a range of more than the limit of ", kMaxRangeItems, " items"));
    }
    items.push_back(Value::Int(i));
  }
  return MakeList(std::move(items), runtime.budget);
}

absl::StatusOr<Value> MakeDict(Runtime& runtime, const Value&, const Arguments& arguments) {
  if (arguments.positional.size() > 1) {
    return absl::InvalidArgumentError("dict() takes one argument and keywords");
  }
  auto dict = std::make_shared<Dict>();
  if (!arguments.positional.empty()) {
    const Dict* base = arguments.positional[0].IfDict();
    if (base == nullptr) {
      return Misuse(arguments.positional[0], "dict() needs an object to start from");
    }
    for (const Dict::Entry& entry : base->entries()) {
      RETURN_IF_ERROR(dict->Set(entry.key, entry.value, runtime.budget));
    }
  }
  for (const auto& [name, value] : arguments.keyword) {
    RETURN_IF_ERROR(dict->Set(name, value, runtime.budget));
  }
  return Value::Of(std::shared_ptr<const Dict>(std::move(dict)));
}

absl::StatusOr<Value> MakeNamespace(Runtime& runtime, const Value& input,
                                    const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Value dict, MakeDict(runtime, input, arguments));
  auto made = std::make_shared<Namespace>();
  for (const Dict::Entry& entry : dict.IfDict()->entries()) {
    made->fields[*entry.key] = entry.value;
  }
  return Value::Of(std::move(made));
}

// --- methods ---

absl::StatusOr<Value> DictGet(Runtime& runtime, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bind("get", arguments, {"key", "default"}, 1));
  RETURN_IF_ERROR(runtime.budget.Steps(1));
  const std::string* key = bound[0].IfText();
  const Value* found = key == nullptr ? nullptr : input.IfDict()->Find(*key);
  if (found != nullptr) return *found;
  return bound.Given(1) ? bound[1] : Value::None();
}

absl::StatusOr<Value> DictKeys(Runtime& runtime, const Value& input, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("keys", arguments, {}).status());
  ASSIGN_OR_RETURN(ListPtr keys, Iterate(input, runtime.budget));
  return Value::Of(std::move(keys));
}

absl::StatusOr<Value> DictValues(Runtime& runtime, const Value& input, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("values", arguments, {}).status());
  std::vector<Value> values;
  for (const Dict::Entry& entry : input.IfDict()->entries()) values.push_back(entry.value);
  return MakeList(std::move(values), runtime.budget);
}

absl::StatusOr<Value> Identity(Runtime&, const Value& input, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("copy", arguments, {}).status());
  return input;  // values never change, so that one is as good as its copy
}

absl::StatusOr<Value> LoopCycle(Runtime&, const Value& input, const Arguments& arguments) {
  if (arguments.positional.empty()) {
    return absl::InvalidArgumentError("no items for cycling given");
  }
  return arguments.positional[input.IfLoop()->index % arguments.positional.size()];
}

Builtin Find(const absl::flat_hash_map<absl::string_view, Builtin>& builtins,
             absl::string_view name) {
  const auto found = builtins.find(name);
  return found == builtins.end() ? nullptr : found->second;
}

}  // namespace

Builtin FindFunction(absl::string_view name) {
  static const auto* const kFunctions = new absl::flat_hash_map<absl::string_view, Builtin>({
      {"dict", MakeDict},
      {"namespace", MakeNamespace},
      {"raise_exception", RaiseException},
      {"range", Range},
      {"strftime_now", StrftimeNow},
  });
  return Find(*kFunctions, name);
}

Builtin FindMethod(const Value& object, absl::string_view name) {
  static const auto* const kOfDicts = new absl::flat_hash_map<absl::string_view, Builtin>({
      {"copy", Identity},
      {"get", DictGet},
      {"items", ItemsFilter},
      {"keys", DictKeys},
      {"values", DictValues},
  });
  if (object.IfText() != nullptr) return FindTextMethod(name);
  if (object.IfDict() != nullptr) return Find(*kOfDicts, name);
  if (object.IfLoop() != nullptr && name == "cycle") return LoopCycle;
  return nullptr;
}

}  // namespace transmla::jinja
