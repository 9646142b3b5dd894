#include "engine/tokenizer/template_literal.h"

#include <algorithm>
#include <cstdint>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "engine/base/status.h"
#include "engine/base/utf8.h"

namespace transmla::jinja {
namespace {

// Digits from `start` on, with single underscores between them; the position behind the last.
size_t PassDigits(absl::string_view text, size_t start) {
  size_t end = start;
  for (size_t i = start; i < text.size(); ++i) {
    if (absl::ascii_isdigit(text[i])) {
      end = i + 1;
    } else if (text[i] != '_' || end != i) {
      break;
    }
  }
  return end;
}

int BaseOf(absl::string_view digits) {
  if (digits.size() < 2 || digits[0] != '0') return 10;
  switch (absl::ascii_tolower(digits[1])) {
    case 'x':
      return 16;
    case 'o':
      return 8;
    case 'b':
      return 2;
    default:
      return 10;
  }
}

// 99 for what is no digit.
int DigitValue(char c) {
  if (absl::ascii_isdigit(c)) return c - '0';
  if (absl::ascii_isxdigit(c)) return absl::ascii_tolower(c) - 'a' + 10;
  return 99;
}

constexpr uint32_t kSurrogates = 0xD800, kAfterSurrogates = 0xE000, kMaxCodePoint = 0x10FFFF;

// Text being unescaped: what is left, and what is done.
class Unescaper {
 public:
  explicit Unescaper(absl::string_view text) : text_(text) {}

  absl::StatusOr<std::string> Run() {
    while (!text_.empty()) {
      if (text_[0] != '\\' || text_.size() == 1) {
        out_.push_back(text_[0]);
        text_.remove_prefix(1);
        continue;
      }
      const char kind = text_[1];
      text_.remove_prefix(2);
      RETURN_IF_ERROR(Escape(kind));
    }
    return std::move(out_);
  }

 private:
  absl::Status Escape(char kind) {
    static constexpr absl::string_view kLetters = "abfnrtv\\'\"";
    static constexpr absl::string_view kMeanings = "\a\b\f\n\r\t\v\\'\"";
    if (const size_t i = kLetters.find(kind); i != absl::string_view::npos) {
      out_.push_back(kMeanings[i]);
    } else if (kind == 'x' || kind == 'u' || kind == 'U') {
      return Hexadecimal(kind);
    } else if (kind >= '0' && kind <= '7') {
      auto c = static_cast<uint32_t>(kind - '0');
      for (int more = 0; more < 2 && !text_.empty() && text_[0] >= '0' && text_[0] <= '7'; ++more) {
        c = c * 8 + static_cast<uint32_t>(text_[0] - '0');
        text_.remove_prefix(1);
      }
      AppendUtf8(c, out_);
    } else if (kind == 'N') {
      return absl::InvalidArgumentError("the escape \\N is not supported; write \\u and digits");
    } else if (kind != '\n') {  // a line end after a backslash vanishes
      out_.push_back('\\');
      out_.push_back(kind);
    }
    return absl::OkStatus();
  }

  absl::Status Hexadecimal(char kind) {
    const size_t digits = kind == 'x' ? 2 : kind == 'u' ? 4 : 8;
    uint32_t c = 0;
    for (size_t i = 0; i < digits; ++i) {
      const int digit = i < text_.size() ? DigitValue(text_[i]) : 99;
      if (digit > 15) {
        return absl::InvalidArgumentError(absl::StrCat("the escape \\", std::string(1, kind),
                                                       " needs ", digits, " hexadecimal digits"));
      }
      c = c * 16 + static_cast<uint32_t>(digit);
    }
    text_.remove_prefix(digits);
    // UTF-8 has no surrogates.
    if (c > kMaxCodePoint || (c >= kSurrogates && c < kAfterSurrogates)) {
      absl::StrAppend(&out_, kReplacementCharacter);
    } else {
      AppendUtf8(c, out_);
    }
    return absl::OkStatus();
  }

  absl::string_view text_;
  std::string out_;
};

}  // namespace

NumberLiteral ScanNumber(absl::string_view text, bool allow_float) {
  if (const int base = BaseOf(text); base != 10) {
    size_t end = 2;
    while (end < text.size() && (text[end] == '_' || DigitValue(text[end]) < base)) ++end;
    return {end, false};
  }
  size_t end = PassDigits(text, 0);
  if (!allow_float) return {end, false};
  bool is_float = false;
  if (end < text.size() && text[end] == '.') {
    const size_t fraction = PassDigits(text, end + 1);
    if (fraction > end + 1) {
      end = fraction;
      is_float = true;
    }
  }
  if (end < text.size() && absl::ascii_tolower(text[end]) == 'e') {
    size_t digits = end + 1;
    if (digits < text.size() && (text[digits] == '+' || text[digits] == '-')) ++digits;
    const size_t exponent = PassDigits(text, digits);
    if (exponent > digits) {
      end = exponent;
      is_float = true;
    }
  }
  return {end, is_float};
}

absl::StatusOr<Value> ReadInteger(absl::string_view digits) {
  const int base = BaseOf(digits);
  if (base != 10) digits.remove_prefix(2);
  const bool zeros = std::all_of(digits.begin(), digits.end(), [](char c) { return c == '0'; });
  if (digits.empty() || (base == 10 && digits[0] == '0' && !zeros)) {
    return absl::InvalidArgumentError(absl::StrCat("'", digits, "' is no number"));
  }
  Integer value = 0;
  for (const char c : digits) {
    value = value * base + DigitValue(c);
    if (value > std::numeric_limits<uint64_t>::max()) {
      return absl::InvalidArgumentError("an integer does not fit into 64 bits");
    }
  }
  return Value::Int(value);
}

absl::StatusOr<Value> ReadFloat(absl::string_view digits) {
  double value = 0;
  if (absl::SimpleAtod(digits, &value)) return Value::Float(value);
  return absl::InvalidArgumentError(absl::StrCat("'", digits, "' is no number"));
}

absl::StatusOr<std::string> Unescape(absl::string_view quoted) { return Unescaper(quoted).Run(); }

}  // namespace transmla::jinja
