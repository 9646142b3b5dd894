#define PCRE2_CODE_UNIT_WIDTH 8  // before pcre2.h: it names the functions

#include "engine/tokenizer/regex.h"

#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include <pcre2.h>

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/base/utf8.h"
#include "engine/tokenizer/limits.h"

namespace transmla {

struct Regex::Code {
  explicit Code(pcre2_code* compiled) : code(compiled) {}
  ~Code() { pcre2_code_free(code); }
  Code(const Code&) = delete;
  Code& operator=(const Code&) = delete;

  pcre2_code* const code;
};

namespace {

// Unicode's White_Space, as the inside of a class.
constexpr absl::string_view kSpaces =
    R"(\t-\r\x{20}\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";

absl::Status Unsupported(const std::string& where, size_t place, absl::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat(where, ": byte ", place, " of the expression: ", what, " is not supported"));
}

// Copies one class, "[…]" at `i`, and leaves `i` at its last byte.
absl::Status TranslateClass(const std::string& where, absl::string_view pattern, size_t& i,
                            std::string& out) {
  const auto next_is = [&](char c) { return i + 1 < pattern.size() && pattern[i + 1] == c; };
  out += '[';
  if (next_is('^')) out += pattern[++i];
  if (next_is(']')) out += pattern[++i];  // at the front it stands for itself
  while (++i < pattern.size()) {
    const char c = pattern[i];
    if (c == '\\' && i + 1 < pattern.size()) {
      const char escaped = pattern[++i];
      if (escaped == 's') {
        absl::StrAppend(&out, kSpaces);
      } else {
        out += {c, escaped};
      }
    } else if (c == '[' && next_is(':')) {  // [:alpha:]
      const size_t end = pattern.find(":]", i);
      if (end == absl::string_view::npos) return absl::OkStatus();  // PCRE2 says what is wrong
      absl::StrAppend(&out, pattern.substr(i, end + 2 - i));
      i = end + 1;
    } else if (c == '[') {
      return Unsupported(where, i, "a class inside a class");
    } else if (c == '&' && next_is('&')) {
      return Unsupported(where, i, "&& inside a class");
    } else {
      out += c;
      if (c == ']') return absl::OkStatus();
    }
  }
  return absl::OkStatus();
}

// See the header.
absl::StatusOr<std::string> Translate(const std::string& where, absl::string_view pattern) {
  std::string out;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '[') {
      RETURN_IF_ERROR(TranslateClass(where, pattern, i, out));
    } else if (c == '\\' && i + 1 < pattern.size()) {
      const char escaped = pattern[++i];
      if (escaped == 's') {
        absl::StrAppend(&out, "[", kSpaces, "]");
      } else if (escaped == 'S') {
        absl::StrAppend(&out, "[^", kSpaces, "]");
      } else {
        out += {c, escaped};
      }
    } else {
      out += c;
    }
  }
  return out;
}

std::string ErrorText(int code) {
  PCRE2_UCHAR text[256];
  if (pcre2_get_error_message(code, text, sizeof(text)) < 0) return absl::StrCat("error ", code);
  return reinterpret_cast<const char*>(text);
}

struct MatchFree {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};

// What one FindAll needs beside the expression; one per call, so that threads share nothing.
class Matcher {
 public:
  explicit Matcher(const pcre2_code* code)
      : code_(code),
        data_(pcre2_match_data_create(1, nullptr)),
        context_(pcre2_match_context_create(nullptr)) {
    CHECK(data_ != nullptr && context_ != nullptr);  // out of memory, as with operator new
    pcre2_set_match_limit(context_.get(), kMaxMatchSteps);
    pcre2_set_heap_limit(context_.get(), kMaxMatchKilobytes);
  }

  // Returns PCRE2's result code: 1 for a match, PCRE2_ERROR_NOMATCH.
  int Find(absl::string_view text, size_t from, Regex::Match& match) {
    int result = Run(text, from, PCRE2_NO_UTF_CHECK);
    // The compiled code works on a small stack; the interpreter has the heap.
    if (result == PCRE2_ERROR_JIT_STACKLIMIT)
      result = Run(text, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT);
    const PCRE2_SIZE* place = pcre2_get_ovector_pointer(data_.get());
    if (result >= 0) match = {place[0], place[1]};
    return result;
  }

 private:
  int Run(absl::string_view text, size_t from, uint32_t options) {
    return pcre2_match(code_, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from, options,
                       data_.get(), context_.get());
  }

  const pcre2_code* code_;
  std::unique_ptr<pcre2_match_data, MatchFree> data_;
  std::unique_ptr<pcre2_match_context, MatchFree> context_;
};

}  // namespace

absl::StatusOr<Regex> Regex::Compile(const std::string& where, absl::string_view pattern) {
  if (pattern.size() > static_cast<size_t>(kMaxPatternBytes)) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": the expression has ", pattern.size(),
                                                   " bytes; at most ", kMaxPatternBytes,
                                                   " are accepted"));
  }
  ASSIGN_OR_RETURN(const std::string translated, Translate(where, pattern));
  int error = 0;
  PCRE2_SIZE place = 0;
  // \C could match half a character.
  pcre2_code* code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &place, nullptr);
  if (code == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": near byte ", place, " of the expression: ", ErrorText(error)));
  }
  auto owned = std::make_shared<const Code>(code);
  // Without JIT, on a processor it does not know, matching is slower but the same.
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
  return Regex(where, std::move(owned));
}

absl::Status Regex::FindAll(absl::string_view text, std::vector<Match>& matches) const {
  Matcher matcher(code_->code);
  size_t from = 0;
  while (from <= text.size()) {
    Match match;
    const int result = matcher.Find(text, from, match);
    if (result == PCRE2_ERROR_NOMATCH) break;
    if (result < 0) {
      return absl::InvalidArgumentError(absl::StrCat(where_, ": the expression fails at byte ",
                                                     from, " of the text: ", ErrorText(result)));
    }
    // \K may move the start behind the end, or a lookbehind's match before `from`.
    if (match.begin < from || match.end < match.begin) {
      return absl::InvalidArgumentError(
          absl::StrCat(where_, ": the expression moves a match's start, which is not supported"));
    }
    matches.push_back(match);
    from = match.end;
    if (match.begin == match.end) {
      if (from == text.size()) break;
      from += static_cast<size_t>(NextUtf8(text.substr(from)).bytes);
    }
  }
  return absl::OkStatus();
}

std::string EscapeForRegex(absl::string_view text) {
  std::string out;
  for (const char c : text) {
    if (absl::string_view("\\^$.|?*+()[]{}-#&~").find(c) != absl::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

}  // namespace transmla
