#include "engine/tokenizer/template_json.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "engine/base/utf8.h"
#include "engine/tokenizer/template_format.h"

namespace transmla::jinja {
namespace {

void AppendEscaped(uint32_t c, std::string& out) {
  if (c >= 0x10000) {  // a pair of surrogates
    absl::StrAppendFormat(&out, "\\u%04x\\u%04x", 0xD800 + ((c - 0x10000) >> 10),
                          0xDC00 + ((c - 0x10000) & 0x3FF));
  } else {
    absl::StrAppendFormat(&out, "\\u%04x", c);
  }
}

void AppendJsonText(absl::string_view text, bool ensure_ascii, TextBuilder& out) {
  std::string quoted = "\"";
  while (!text.empty()) {
    const Utf8Step step = NextUtf8(text);
    const uint32_t c = step.code_point;
    static constexpr absl::string_view kEscaped = "\"\\\n\r\t\b\f";
    static constexpr absl::string_view kLetters = "\"\\nrtbf";
    const size_t escape = c < 0x80 ? kEscaped.find(static_cast<char>(c)) : absl::string_view::npos;
    if (escape != absl::string_view::npos) {
      quoted.push_back('\\');
      quoted.push_back(kLetters[escape]);
    } else if (c < 0x20 || (ensure_ascii && c >= 0x7F)) {
      AppendEscaped(c, quoted);
    } else {
      absl::StrAppend(&quoted, text.substr(0, step.bytes));
    }
    text.remove_prefix(step.bytes);
  }
  quoted.push_back('"');
  out.Append(quoted);
}

std::string JsonFloat(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  return FormatFloat(value);
}

class Writer {
 public:
  Writer(const JsonStyle& style, TextBuilder& out) : style_(style), out_(out) {}

  void Append(const Value& value, int depth) {
    if (!out_.ok()) return;
    if (value.IsNone()) {
      out_.Append("null");
    } else if (const bool* flag = value.IfBool()) {
      out_.Append(*flag ? "true" : "false");
    } else if (const Integer* integer = value.IfInt()) {
      out_.Append(FormatInteger(*integer));
    } else if (const double* number = value.IfFloat()) {
      out_.Append(JsonFloat(*number));
    } else if (const std::string* text = value.IfText()) {
      AppendJsonText(*text, style_.ensure_ascii, out_);
    } else if (const List* list = value.IfList()) {
      AppendList(list->items, depth);
    } else if (const Dict* dict = value.IfDict()) {
      AppendDict(*dict, depth);
    } else {
      out_.Fail(absl::InvalidArgumentError(
          absl::StrCat(value.IsUndefined() ? value.reason() : absl::string_view("tojson"),
                       ": an object of type ", value.TypeName(), " has no JSON form")));
    }
  }

 private:
  // Before the items at `depth`, or before the bracket that closes them.
  void NewLine(int depth) {
    if (!style_.pretty) return;
    out_.Append("\n");
    for (int i = 0; i < depth && out_.ok(); ++i) out_.Append(style_.indent);
  }

  void AppendList(const std::vector<Value>& items, int depth) {
    if (items.empty()) return out_.Append("[]");
    out_.Append("[");
    for (size_t i = 0; i < items.size() && out_.ok(); ++i) {
      if (i > 0) out_.Append(style_.item_separator);
      NewLine(depth + 1);
      Append(items[i], depth + 1);
    }
    NewLine(depth);
    out_.Append("]");
  }

  void AppendDict(const Dict& dict, int depth) {
    if (dict.entries().empty()) return out_.Append("{}");
    std::vector<const Dict::Entry*> entries;
    for (const Dict::Entry& entry : dict.entries()) entries.push_back(&entry);
    if (style_.sort_keys) {
      std::sort(entries.begin(), entries.end(),
                [](const auto* a, const auto* b) { return *a->key < *b->key; });
    }
    out_.Append("{");
    for (size_t i = 0; i < entries.size() && out_.ok(); ++i) {
      if (i > 0) out_.Append(style_.item_separator);
      NewLine(depth + 1);
      AppendJsonText(*entries[i]->key, style_.ensure_ascii, out_);
      out_.Append(style_.key_separator);
      Append(entries[i]->value, depth + 1);
    }
    NewLine(depth);
    out_.Append("}");
  }

  const JsonStyle& style_;
  TextBuilder& out_;
};

}  // namespace

void AppendJson(const Value& value, const JsonStyle& style, TextBuilder& out) {
  Writer(style, out).Append(value, 0);
}

}  // namespace transmla::jinja
