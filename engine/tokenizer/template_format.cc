#include "engine/tokenizer/template_format.h"

#include <charconv>
#include <cmath>
#include <iterator>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "engine/base/utf8.h"
#include "engine/tokenizer/template_text.h"

namespace transmla::jinja {
namespace {

// Python's choice: single quotes, unless only they occur in the text.
void AppendQuoted(absl::string_view text, TextBuilder& out) {
  const bool has_single = text.find('\'') != absl::string_view::npos;
  const char quote = has_single && text.find('"') == absl::string_view::npos ? '"' : '\'';
  std::string quoted(1, quote);
  while (!text.empty()) {
    const Utf8Step step = NextUtf8(text);
    const uint32_t c = step.code_point;
    if (c == static_cast<uint32_t>(quote) || c == '\\') {
      quoted.push_back('\\');
      quoted.push_back(static_cast<char>(c));
    } else if (c == '\n' || c == '\r' || c == '\t') {
      quoted.append(c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t");
    } else if (IsPrintable(c)) {
      absl::StrAppend(&quoted, text.substr(0, step.bytes));
    } else if (c < 0x100) {
      absl::StrAppendFormat(&quoted, "\\x%02x", c);
    } else if (c < 0x10000) {
      absl::StrAppendFormat(&quoted, "\\u%04x", c);
    } else {
      absl::StrAppendFormat(&quoted, "\\U%08x", c);
    }
    text.remove_prefix(step.bytes);
  }
  quoted.push_back(quote);
  out.Append(quoted);
}

void AppendList(const List& list, TextBuilder& out) {
  out.Append(list.is_tuple ? "(" : "[");
  for (size_t i = 0; i < list.items.size() && out.ok(); ++i) {
    if (i > 0) out.Append(", ");
    AppendRepr(list.items[i], out);
  }
  if (list.is_tuple) {
    out.Append(list.items.size() == 1 ? ",)" : ")");
  } else {
    out.Append("]");
  }
}

void AppendDict(const Dict& dict, TextBuilder& out) {
  out.Append("{");
  bool first = true;
  for (const Dict::Entry& entry : dict.entries()) {
    if (!out.ok()) return;
    if (!first) out.Append(", ");
    first = false;
    AppendQuoted(*entry.key, out);
    out.Append(": ");
    AppendRepr(entry.value, out);
  }
  out.Append("}");
}

}  // namespace

std::string FormatFloat(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char buffer[64];
  const auto end = std::to_chars(std::begin(buffer), std::end(buffer), std::fabs(value),
                                 std::chars_format::scientific)
                       .ptr;
  const absl::string_view written(buffer, static_cast<size_t>(end - buffer));
  const size_t e = written.find('e');  // d.ddde+xx
  int exponent = 0;
  std::from_chars(buffer + e + (written[e + 1] == '+' ? 2 : 1), end, exponent);
  std::string digits(1, written[0]);
  if (e > 2) absl::StrAppend(&digits, written.substr(2, e - 2));
  const absl::string_view sign = std::signbit(value) ? "-" : "";
  if (exponent < -4 || exponent >= 16) return absl::StrCat(sign, written);
  if (exponent < 0) return absl::StrCat(sign, "0.", std::string(-exponent - 1, '0'), digits);
  const size_t whole = static_cast<size_t>(exponent) + 1;
  if (digits.size() < whole + 1) digits.append(whole + 1 - digits.size(), '0');
  return absl::StrCat(sign, absl::string_view(digits).substr(0, whole), ".", digits.substr(whole));
}

std::string FormatInteger(Integer value) {
  if (value < 0) return absl::StrCat(static_cast<int64_t>(value));
  return absl::StrCat(static_cast<uint64_t>(value));
}

void AppendStr(const Value& value, TextBuilder& out) {
  if (const std::string* text = value.IfText()) {
    out.Append(*text);
  } else if (!value.IsUndefined()) {
    AppendRepr(value, out);
  }
}

void AppendRepr(const Value& value, TextBuilder& out) {
  if (value.IsUndefined()) {
    out.Append("Undefined");
  } else if (value.IsNone()) {
    out.Append("None");
  } else if (const bool* flag = value.IfBool()) {
    out.Append(*flag ? "True" : "False");
  } else if (const Integer* integer = value.IfInt()) {
    out.Append(FormatInteger(*integer));
  } else if (const double* number = value.IfFloat()) {
    out.Append(FormatFloat(*number));
  } else if (const std::string* text = value.IfText()) {
    AppendQuoted(*text, out);
  } else if (const List* list = value.IfList()) {
    AppendList(*list, out);
  } else if (const Dict* dict = value.IfDict()) {
    AppendDict(*dict, out);
  } else {
    out.Fail(
        absl::InvalidArgumentError(absl::StrCat("a ", value.TypeName(), " cannot be printed")));
  }
}

absl::StatusOr<Value> ToText(const Value& value, Budget& budget) {
  if (value.IfText() != nullptr) return value;
  TextBuilder builder(budget);
  AppendStr(value, builder);
  return MakeText(builder);
}

}  // namespace transmla::jinja
