// Scanner: what the parsers of regular expressions and of grammars in text form share.
#ifndef TRANSMLA_ENGINE_GRAMMAR_SCANNER_H_
#define TRANSMLA_ENGINE_GRAMMAR_SCANNER_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "engine/grammar/char_set.h"

namespace transmla::grammar {

// Deeper groups are a mistake or an attack: parsers and expressions are recursive.
inline constexpr int kMaxGroupDepth = 64;
inline constexpr int kMaxRepetition = 10'000;
inline constexpr int kMaxClassItems = 4096;

// Reads a text character by character. The text must outlive it.
class Scanner {
 public:
  explicit Scanner(absl::string_view text) : text_(text) {}

  bool AtEnd() const { return at_ == text_.size(); }
  size_t position() const { return at_; }
  // The next byte, or 0 at the end.
  char Peek(size_t ahead = 0) const {
    return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0';
  }
  // Skips `expected` if it comes next.
  bool Skip(absl::string_view expected);
  void Advance(size_t bytes) { at_ += bytes; }
  // The next character. InvalidArgument at the end and where the text is not UTF-8.
  absl::StatusOr<uint32_t> Character();
  // `digits` hexadecimal digits.
  absl::StatusOr<uint32_t> Hex(int digits);

  struct Counts {
    int least = 0;
    int most = 0;  // Expression::kUnbounded: any number
  };
  // A repetition * + ? {n} {n,} {n,m}, if one comes next.
  absl::StatusOr<std::optional<Counts>> Repetition();

  // Reads one character or escape of a class; sets the first, or adds a whole class like \d to the
  // second and returns nothing.
  template <typename Escape>
  absl::StatusOr<CharSet> Class(Escape&& escape);

  // InvalidArgument: "at byte 12: problem".
  absl::Status Error(absl::string_view problem) const;

 private:
  absl::StatusOr<int> Count();

  absl::string_view text_;
  size_t at_ = 0;
};

// What an escape stands for: one character, or a class of several.
struct Escaped {
  bool single = true;
  uint32_t character = 0;
  CharSet characters;
};

// The rest of a class behind its '['. escape(scanner) reads an escape behind its backslash.
template <typename Escape>
absl::StatusOr<CharSet> Scanner::Class(Escape&& escape) {
  const bool negated = Skip("^");
  CharSet set;
  for (int items = 0; !Skip("]"); ++items) {
    if (items >= kMaxClassItems) return Error("a class has more than 4096 characters and ranges");
    const auto item = [&]() -> absl::StatusOr<Escaped> {
      if (Skip("\\")) return escape(*this);
      const absl::StatusOr<uint32_t> c = Character();
      if (!c.ok()) return c.status();
      return Escaped{.single = true, .character = *c, .characters = {}};
    };
    const absl::StatusOr<Escaped> first = item();
    if (!first.ok()) return first.status();
    if (!first->single) {
      set.Add(first->characters);
      continue;
    }
    uint32_t last = first->character;
    if (Peek() == '-' && Peek(1) != ']') {
      Advance(1);
      const absl::StatusOr<Escaped> end = item();
      if (!end.ok()) return end.status();
      if (!end->single) return Error("a range ends with a class");
      last = end->character;
    }
    if (last < first->character) return Error("a range ends before it begins");
    set.Add(first->character, last);
  }
  return negated ? set.Complement() : set;
}

}  // namespace transmla::grammar

#endif  // TRANSMLA_ENGINE_GRAMMAR_SCANNER_H_
