#include "engine/tokenizer/template_lexer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"

#include "engine/base/status.h"
#include "engine/base/utf8.h"
#include "engine/tokenizer/template_literal.h"
#include "engine/tokenizer/template_text.h"

namespace transmla::jinja {
namespace {

class Lexer {
 public:
  explicit Lexer(absl::string_view source) : source_(source) {}

  absl::StatusOr<std::vector<Token>> Run() {
    while (!rest().empty()) RETURN_IF_ERROR(LexDataAndTag());
    Add(TokenKind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  absl::string_view rest() const { return source_.substr(at_); }

  void Add(TokenKind kind, absl::string_view text) {
    tokens_.push_back({kind, std::string(text), line_});
  }

  void Advance(size_t bytes) {
    const absl::string_view passed = rest().substr(0, bytes);
    line_ += static_cast<int>(std::count(passed.begin(), passed.end(), '\n'));
    at_ += passed.size();
  }

  void SkipSpace() { Advance(rest().size() - StripSpace(rest(), Side::kLeft).size()); }

  // Passes a tag's end ("%}", with its sign if it has one) and the white space that goes with it.
  void PassEnd(size_t bytes, char sign, bool trims_line_end) {
    Advance(bytes);
    if (sign == '-') {
      SkipSpace();
    } else if (trims_line_end && sign != '+' && absl::StartsWith(rest(), "\n")) {
      Advance(1);
    }
    line_begins_ = source_[at_ - 1] == '\n';
  }

  // The text before the next tag, then the tag.
  absl::Status LexDataAndTag() {
    size_t length = 0;
    while (length < rest().size() && !IsTag(rest().substr(length, 2))) ++length;
    const absl::string_view text = rest().substr(0, length);
    const absl::string_view tag = rest().substr(length, 2);
    if (tag.empty()) {
      AddData(text);
      Advance(length);
      return absl::OkStatus();
    }
    const char sign = SignAt(at_ + length + 2);
    AddData(Trimmed(text, sign, /*keeps_indent=*/tag == "{{"));
    Advance(length);
    const int line = line_;
    Advance(sign == 0 ? 2 : 3);
    if (tag == "{#") return PassComment(line);
    if (tag == "{{") return LexTag(TokenKind::kPrintBegin, TokenKind::kPrintEnd, line);
    if (const size_t bytes = RawBegin()) return LexRaw(bytes, line);
    return LexTag(TokenKind::kBlockBegin, TokenKind::kBlockEnd, line);
  }

  static bool IsTag(absl::string_view two) { return two == "{{" || two == "{%" || two == "{#"; }

  char SignAt(size_t at) const {
    if (at >= source_.size()) return 0;
    return source_[at] == '-' || source_[at] == '+' ? source_[at] : static_cast<char>(0);
  }

  void AddData(absl::string_view text) {
    if (!text.empty()) Add(TokenKind::kData, text);
  }

  // Without what the following tag takes: "-" all white space; lstrip_blocks its line's indent.
  absl::string_view Trimmed(absl::string_view text, char sign, bool keeps_indent) const {
    if (sign == '-') return StripSpace(text, Side::kRight);
    if (sign == '+' || keeps_indent) return text;
    const size_t line_end = text.rfind('\n');
    const size_t indent = line_end == absl::string_view::npos ? 0 : line_end + 1;
    if (indent == 0 && !line_begins_) return text;
    const bool blank = StripSpace(text.substr(indent), Side::kLeft).empty();
    return blank ? text.substr(0, indent) : text;
  }

  absl::Status PassComment(int line) {
    const size_t length = rest().find("#}");
    if (length == absl::string_view::npos) return TemplateError(line, "a comment has no end '#}'");
    const char last = length == 0 ? '\0' : rest()[length - 1];
    PassEnd(length + 2, last, /*trims_line_end=*/true);
    return absl::OkStatus();
  }

  // Bytes from here to the end of "raw %}", or 0 if the block is another.
  size_t RawBegin() const {
    absl::string_view left = StripSpace(rest(), Side::kLeft);
    if (!absl::ConsumePrefix(&left, "raw")) return 0;
    left = StripSpace(left, Side::kLeft);
    if (!absl::ConsumePrefix(&left, "-%}") && !absl::ConsumePrefix(&left, "%}")) return 0;
    return rest().size() - left.size();
  }

  absl::Status LexRaw(size_t begin_bytes, int line) {
    PassEnd(begin_bytes, rest()[begin_bytes - 3], /*trims_line_end=*/false);
    for (size_t length = rest().find("{%"); length != absl::string_view::npos;
         length = rest().find("{%", length + 2)) {
      absl::string_view left = rest().substr(length + 2);
      const char begin_sign = SignAt(at_ + length + 2);
      if (begin_sign != 0) left.remove_prefix(1);
      left = StripSpace(left, Side::kLeft);
      if (!absl::ConsumePrefix(&left, "endraw")) continue;
      left = StripSpace(left, Side::kLeft);
      const char end_sign =
          absl::StartsWith(left, "-") || absl::StartsWith(left, "+") ? left[0] : 0;
      if (end_sign != 0) left.remove_prefix(1);
      if (!absl::ConsumePrefix(&left, "%}")) continue;
      AddData(Trimmed(rest().substr(0, length), begin_sign, /*keeps_indent=*/false));
      PassEnd(rest().size() - left.size(), end_sign, /*trims_line_end=*/true);
      return absl::OkStatus();
    }
    return TemplateError(line, "'raw' has no 'endraw'");
  }

  // The tokens of one tag, whose opening is passed already.
  absl::Status LexTag(TokenKind begin, TokenKind end, int line) {
    tokens_.push_back({begin, "", line});
    const absl::string_view closing = end == TokenKind::kPrintEnd ? "}}" : "%}";
    open_.clear();
    while (true) {
      SkipSpace();
      if (rest().empty()) {
        return TemplateError(line, absl::StrCat("a tag has no end '", closing, "'"));
      }
      // "}}" may also close two objects, so a tag does not end inside brackets.
      if (open_.empty()) {
        const char sign =
            rest()[0] == '-' || (rest()[0] == '+' && closing == "%}") ? rest()[0] : '\0';
        const size_t sign_bytes = sign == 0 ? 0 : 1;
        if (rest().substr(sign_bytes, 2) == closing) {
          Add(end, "");
          PassEnd(sign_bytes + 2, sign, /*trims_line_end=*/closing == "%}");
          return absl::OkStatus();
        }
      }
      RETURN_IF_ERROR(LexToken());
    }
  }

  absl::Status LexToken() {
    const char first = rest()[0];
    const Utf8Step step = NextUtf8(rest());
    if (absl::ascii_isdigit(first)) return LexNumber();
    if (first == '\'' || first == '"') return LexText(first);
    if (IsWordStart(step.code_point)) {
      size_t length = 0;
      while (length < rest().size()) {
        const Utf8Step next = NextUtf8(rest().substr(length));
        if (!IsWord(next.code_point)) break;
        length += next.bytes;
      }
      Add(TokenKind::kName, rest().substr(0, length));
      Advance(length);
      return absl::OkStatus();
    }
    return LexOperator();
  }

  absl::Status LexNumber() {
    // After a dot, as in list.0.name, there are no fractions.
    const bool after_dot = at_ > 0 && source_[at_ - 1] == '.';
    const NumberLiteral number = ScanNumber(rest(), /*allow_float=*/!after_dot);
    std::string digits(rest().substr(0, number.bytes));
    digits.erase(std::remove(digits.begin(), digits.end(), '_'), digits.end());
    Add(number.is_float ? TokenKind::kFloat : TokenKind::kInteger, digits);
    Advance(number.bytes);
    return absl::OkStatus();
  }

  absl::Status LexText(char quote) {
    size_t length = 1;
    while (length < rest().size() && rest()[length] != quote) {
      length += rest()[length] == '\\' ? 2 : 1;
    }
    if (length >= rest().size()) return TemplateError(line_, "a text has no closing quote");
    absl::StatusOr<std::string> text = Unescape(rest().substr(1, length - 1));
    if (!text.ok()) return TemplateError(line_, text.status().message());
    Add(TokenKind::kText, *text);
    Advance(length + 1);
    return absl::OkStatus();
  }

  absl::Status LexOperator() {
    static constexpr absl::string_view kOperators[] = {
        "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
        "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};
    const auto* const found = std::find_if(
        std::begin(kOperators), std::end(kOperators),
        [&](absl::string_view candidate) { return absl::StartsWith(rest(), candidate); });
    if (found == std::end(kOperators)) {
      const absl::string_view character = rest().substr(0, NextUtf8(rest()).bytes);
      return TemplateError(line_, absl::StrCat("unexpected character '", character, "'"));
    }
    RETURN_IF_ERROR(Balance((*found)[0]));
    Add(TokenKind::kOperator, *found);
    Advance(found->size());
    return absl::OkStatus();
  }

  absl::Status Balance(char bracket) {
    static constexpr absl::string_view kOpening = "([{", kClosing = ")]}";
    if (const size_t i = kOpening.find(bracket); i != absl::string_view::npos) {
      open_.push_back(kClosing[i]);
    } else if (kClosing.find(bracket) != absl::string_view::npos) {
      if (open_.empty()) {
        return TemplateError(line_, absl::StrCat("unexpected '", std::string(1, bracket), "'"));
      }
      if (open_.back() != bracket) {
        return TemplateError(line_,
                             absl::StrCat("unexpected '", std::string(1, bracket), "', expected '",
                                          std::string(1, open_.back()), "'"));
      }
      open_.pop_back();
    }
    return absl::OkStatus();
  }

  const absl::string_view source_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_begins_ = true;  // whether the last byte passed ended a line
  std::string open_;         // the closing brackets that the current tag awaits
  std::vector<Token> tokens_;
};

}  // namespace

absl::Status TemplateError(int line, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("chat template line ", line, ": ", what));
}

absl::StatusOr<std::vector<Token>> Tokenize(absl::string_view source) {
  const std::string unified = absl::StrReplaceAll(source, {{"\r\n", "\n"}, {"\r", "\n"}});
  return Lexer(absl::StripSuffix(unified, "\n")).Run();
}

}  // namespace transmla::jinja
