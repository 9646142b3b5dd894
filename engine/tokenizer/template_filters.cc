// Filters of one value, and the list of all filters. Those of sequences:
// template_sequence_filters.h.
#include <algorithm>
#include <cmath>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"

#include "engine/base/status.h"
#include "engine/tokenizer/template_callable.h"
#include "engine/tokenizer/template_format.h"
#include "engine/tokenizer/template_json.h"
#include "engine/tokenizer/template_limits.h"
#include "engine/tokenizer/template_operators.h"
#include "engine/tokenizer/template_sequence_filters.h"
#include "engine/tokenizer/template_text.h"
#include "engine/tokenizer/template_text_methods.h"

namespace transmla::jinja {
namespace {

// --- text ---

// A filter that is a function of the printed value.
template <std::string (*Function)(absl::string_view)>
absl::StatusOr<Value> TextFilter(Runtime& runtime, const Value& input, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("the filter", arguments, {}).status());
  ASSIGN_OR_RETURN(const Value text, ToText(input, runtime.budget));
  RETURN_IF_ERROR(runtime.budget.Read(text.IfText()->size()));
  return MakeText(Function(*text.IfText()), runtime.budget);
}

std::string Escape(absl::string_view text) {
  return absl::StrReplaceAll(
      text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"'", "&#39;"}, {"\"", "&#34;"}});
}

absl::StatusOr<Value> String(Runtime& runtime, const Value& input, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("string", arguments, {}).status());
  return ToText(input, runtime.budget);
}

// A method of text under a filter's name: the printed value's.
template <Builtin Method>
absl::StatusOr<Value> MethodFilter(Runtime& runtime, const Value& input,
                                   const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Value text, ToText(input, runtime.budget));
  return Method(runtime, text, arguments);
}

absl::StatusOr<Value> Indent(Runtime& runtime, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bind("indent", arguments, {"width", "first", "blank"}));
  const std::string* text = input.IfText();
  if (text == nullptr) return Misuse(input, "indent needs a text");
  std::string indentation;
  if (bound[0].IfText() != nullptr) {
    indentation = *bound[0].IfText();
  } else {
    ASSIGN_OR_RETURN(const int64_t width, bound.Int(0, 4));
    if (width > kMaxTemplateTextBytes) return absl::InvalidArgumentError("indent is too wide");
    RETURN_IF_ERROR(runtime.budget.Write(static_cast<size_t>(std::max<int64_t>(width, 0))));
    if (width > 0) indentation.assign(static_cast<size_t>(width), ' ');
  }
  RETURN_IF_ERROR(runtime.budget.Write(text->size()));
  const bool blank = bound.Flag(2, false);
  TextBuilder out(runtime.budget);
  bool first = true;
  // Python appends a line end so that the last one of the text counts as an empty line.
  const std::string ended = absl::StrCat(*text, "\n");
  for (const absl::string_view line : SplitLines(ended)) {
    if (!first) out.Append("\n");
    if (first ? bound.Flag(1, false) : blank || !line.empty()) out.Append(indentation);
    out.Append(line);
    first = false;
  }
  return MakeText(out);
}

// --- numbers ---

absl::StatusOr<Value> Abs(Runtime&, const Value& input, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("abs", arguments, {}).status());
  if (!input.IsNumber()) {
    return Misuse(input, absl::StrCat("bad operand type for abs(): '", input.TypeName(), "'"));
  }
  if (const bool* flag = input.IfBool()) return Value::Int(*flag ? 1 : 0);
  return AsFloat(input) < 0 ? Negate(input) : input;
}

absl::StatusOr<Value> Round(Runtime&, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bind("round", arguments, {"precision", "method"}));
  ASSIGN_OR_RETURN(const int64_t precision, bound.Int(0, 0));
  ASSIGN_OR_RETURN(const absl::string_view method, bound.Text(1, "common"));
  if (!input.IsNumber()) return Misuse(input, "round needs a number");
  if (precision < -300 || precision > 300) {
    return absl::InvalidArgumentError(absl::StrCat("round to ", precision, " digits"));
  }
  const double value = AsFloat(input), scale = std::pow(10.0, static_cast<double>(precision));
  if (method == "ceil") return Value::Float(std::ceil(value * scale) / scale);
  if (method == "floor") return Value::Float(std::floor(value * scale) / scale);
  if (method != "common") {
    return absl::InvalidArgumentError("method must be common, ceil or floor");
  }
  if (input.IfFloat() == nullptr && precision >= 0) return input;
  if (precision < 0 || !std::isfinite(value)) {
    return Value::Float(std::nearbyint(value * scale) / scale);
  }
  // Printing rounds the exact binary value half to even, as Python does.
  double rounded = 0;
  if (!absl::SimpleAtod(absl::StrFormat("%.*f", static_cast<int>(precision), value), &rounded)) {
    return absl::InternalError("a printed number does not read back");
  }
  return Value::Float(rounded);
}

absl::StatusOr<Value> Truncated(double value) {
  if (std::fabs(value) < 0x1p64) return MakeInteger(static_cast<Integer>(value));
  return absl::InvalidArgumentError("a number is too large for an integer");
}

absl::StatusOr<Value> Int(Runtime&, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bind("int", arguments, {"default", "base"}));
  ASSIGN_OR_RETURN(const int64_t base, bound.Int(1, 10));
  if (base != 10) return absl::InvalidArgumentError("int: only base 10 is supported");
  const Value otherwise = bound.Given(0) ? bound[0] : Value::Int(0);
  if (const bool* flag = input.IfBool()) return Value::Int(*flag ? 1 : 0);
  if (input.IfInt() != nullptr) return input;
  double number = 0;
  if (const std::string* text = input.IfText()) {
    const absl::string_view digits = StripSpace(*text, Side::kBoth);
    absl::int128 integer = 0;
    if (absl::SimpleAtoi(digits, &integer)) return MakeInteger(integer);
    if (!absl::SimpleAtod(digits, &number)) return otherwise;
  } else if (input.IfFloat() != nullptr) {
    number = *input.IfFloat();
  } else if (input.IsUndefined()) {
    return absl::InvalidArgumentError(input.reason());
  } else {
    return otherwise;
  }
  return std::isfinite(number) ? Truncated(number) : otherwise;
}

absl::StatusOr<Value> Float(Runtime&, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bind("float", arguments, {"default"}));
  if (input.IsUndefined()) return absl::InvalidArgumentError(input.reason());
  if (input.IsNumber()) return Value::Float(AsFloat(input));
  double number = 0;
  const std::string* text = input.IfText();
  if (text != nullptr && absl::SimpleAtod(StripSpace(*text, Side::kBoth), &number)) {
    return Value::Float(number);
  }
  return bound.Given(0) ? bound[0] : Value::Float(0);
}

// --- others ---

absl::StatusOr<Value> Default(Runtime&, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bind("default", arguments, {"default_value", "boolean"}));
  if (!input.IsUndefined() && (!bound.Flag(1, false) || Truth(input))) return input;
  return arguments.positional.empty() && !bound.Given(0) ? Value::Text(std::string()) : bound[0];
}

absl::StatusOr<Value> Safe(Runtime& runtime, const Value& input, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("safe", arguments, {}).status());
  return ToText(input, runtime.budget);  // nothing is escaped, so nothing needs the mark
}

// Hugging Face's tojson, which replaces Jinja's and escapes nothing for HTML.
absl::StatusOr<Value> ToJson(Runtime& runtime, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bind("tojson", arguments,
                                           {"ensure_ascii", "indent", "separators", "sort_keys"}));
  JsonStyle style;
  style.ensure_ascii = bound.Flag(0, false);
  style.sort_keys = bound.Flag(3, false);
  if (bound.Given(1) && !bound[1].IsNone()) {
    style.pretty = true;
    style.item_separator = std::string(",");
    if (bound[1].IfText() != nullptr) {
      style.indent = *bound[1].IfText();
    } else {
      ASSIGN_OR_RETURN(const int64_t width, bound.Int(1, 0));
      if (width > kMaxTemplateTextBytes)
        return absl::InvalidArgumentError("tojson: indent too wide");
      RETURN_IF_ERROR(runtime.budget.Write(static_cast<size_t>(std::max<int64_t>(width, 0))));
      if (width > 0) style.indent.assign(static_cast<size_t>(width), ' ');
    }
  }
  if (bound.Given(2) && !bound[2].IsNone()) {
    const List* pair = bound[2].IfList();
    if (pair == nullptr || pair->items.size() != 2 || pair->items[0].IfText() == nullptr ||
        pair->items[1].IfText() == nullptr) {
      return absl::InvalidArgumentError("tojson: separators must be a pair of texts");
    }
    style.item_separator = *pair->items[0].IfText();
    style.key_separator = *pair->items[1].IfText();
  }
  TextBuilder out(runtime.budget);
  AppendJson(input, style, out);
  return MakeText(out);
}

}  // namespace

Builtin FindFilter(absl::string_view name) {
  static const auto* const kFilters = new absl::flat_hash_map<absl::string_view, Builtin>({
      {"abs", Abs},
      {"capitalize", TextFilter<Capitalize>},
      {"count", LengthFilter},
      {"d", Default},
      {"default", Default},
      {"dictsort", DictSortFilter},
      {"e", TextFilter<Escape>},
      {"escape", TextFilter<Escape>},
      {"first", FirstFilter},
      {"float", Float},
      {"indent", Indent},
      {"int", Int},
      {"items", ItemsFilter},
      {"join", JoinFilter},
      {"last", LastFilter},
      {"length", LengthFilter},
      {"list", ListFilter},
      {"lower", TextFilter<Lower>},
      {"map", MapFilter},
      {"max", MaxFilter},
      {"min", MinFilter},
      {"reject", RejectFilter},
      {"rejectattr", RejectAttrFilter},
      {"replace", MethodFilter<ReplaceMethod>},
      {"reverse", ReverseFilter},
      {"round", Round},
      {"safe", Safe},
      {"select", SelectFilter},
      {"selectattr", SelectAttrFilter},
      {"sort", SortFilter},
      {"string", String},
      {"sum", SumFilter},
      {"title", TextFilter<TitleWords>},
      {"tojson", ToJson},
      {"trim", MethodFilter<StripMethod>},
      {"unique", UniqueFilter},
      {"upper", TextFilter<Upper>},
  });
  const auto found = kFilters->find(name);
  return found == kFilters->end() ? nullptr : found->second;
}

}  // namespace transmla::jinja
