#include "engine/grammar/scanner.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "engine/base/status.h"
#include "engine/base/utf8.h"
#include "engine/grammar/grammar.h"

namespace transmla::grammar {

absl::Status Scanner::Error(absl::string_view problem) const {
  return absl::InvalidArgumentError(absl::StrCat("at byte ", at_, ": ", problem));
}

bool Scanner::Skip(absl::string_view expected) {
  if (!absl::StartsWith(text_.substr(at_), expected)) return false;
  at_ += expected.size();
  return true;
}

absl::StatusOr<uint32_t> Scanner::Character() {
  if (AtEnd()) return Error("it ends too early");
  const Utf8Step step = NextUtf8(text_.substr(at_));
  if (!step.valid) return Error("it is not UTF-8");
  at_ += static_cast<size_t>(step.bytes);
  return step.code_point;
}

absl::StatusOr<uint32_t> Scanner::Hex(int digits) {
  uint32_t value = 0;
  for (int i = 0; i < digits; ++i) {
    const char c = Peek();
    if (!absl::ascii_isxdigit(static_cast<unsigned char>(c))) {
      return Error(absl::StrCat("an escape needs ", digits, " hexadecimal digits"));
    }
    value = value * 16 + static_cast<uint32_t>(absl::ascii_isdigit(static_cast<unsigned char>(c))
                                                   ? c - '0'
                                                   : absl::ascii_tolower(c) - 'a' + 10);
    Advance(1);
  }
  if (value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) {
    return Error("an escape is not a character");
  }
  return value;
}

absl::StatusOr<int> Scanner::Count() {
  if (!absl::ascii_isdigit(static_cast<unsigned char>(Peek()))) return Error("a count is missing");
  int value = 0;
  while (absl::ascii_isdigit(static_cast<unsigned char>(Peek()))) {
    value = value * 10 + (Peek() - '0');
    if (value > kMaxRepetition) {
      return Error(absl::StrCat("a count is above ", kMaxRepetition));
    }
    Advance(1);
  }
  return value;
}

absl::StatusOr<std::optional<Scanner::Counts>> Scanner::Repetition() {
  if (Skip("*")) return Counts{0, Expression::kUnbounded};
  if (Skip("+")) return Counts{1, Expression::kUnbounded};
  if (Skip("?")) return Counts{0, 1};
  if (!Skip("{")) return std::optional<Counts>();
  Counts counts;
  ASSIGN_OR_RETURN(counts.least, Count());
  counts.most = counts.least;
  if (Skip(",")) {
    counts.most = Expression::kUnbounded;
    if (Peek() != '}') {
      ASSIGN_OR_RETURN(counts.most, Count());
      if (counts.most < counts.least) return Error("a repetition's most is below its least");
    }
  }
  if (!Skip("}")) return Error("a repetition lacks its }");
  return counts;
}

}  // namespace transmla::grammar
