#include "engine/tokenizer/template_text.h"

#include <algorithm>
#include <cstring>

#include <utf8proc.h>

#include "engine/base/utf8.h"

namespace transmla::jinja {
namespace {

utf8proc_category_t Category(uint32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

// Bytes of the last character. REQUIRES: text is not empty.
size_t LastBytes(absl::string_view text) {
  size_t bytes = 1;
  while (bytes < text.size() && (static_cast<uint8_t>(text[text.size() - bytes]) & 0xC0) == 0x80) {
    ++bytes;
  }
  return bytes;
}

template <typename Predicate>
absl::string_view StripIf(absl::string_view text, Side side, const Predicate& strips) {
  while (side != Side::kRight && !text.empty()) {
    const Utf8Step step = NextUtf8(text);
    if (!strips(text.substr(0, step.bytes), step.code_point)) break;
    text.remove_prefix(step.bytes);
  }
  while (side != Side::kLeft && !text.empty()) {
    const absl::string_view last = text.substr(text.size() - LastBytes(text));
    if (!strips(last, NextUtf8(last).code_point)) break;
    text.remove_suffix(last.size());
  }
  return text;
}

bool IsLineEnd(uint32_t c) {
  return (c >= '\n' && c <= '\r') || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
         c == 0x2029;
}

std::string Reversed(absl::string_view text) { return std::string(text.rbegin(), text.rend()); }

// Where separators begin, at most `max` of them unless that is negative.
std::vector<size_t> Cuts(absl::string_view text, absl::string_view separator, int64_t max) {
  std::vector<size_t> cuts;
  size_t start = 0;
  while (max < 0 || static_cast<int64_t>(cuts.size()) < max) {
    const size_t at = FindText(text, separator, start);
    if (at == absl::string_view::npos) break;
    cuts.push_back(at);
    start = at + separator.size();
  }
  return cuts;
}

std::vector<absl::string_view> CutAt(absl::string_view text, const std::vector<size_t>& cuts,
                                     size_t separator_bytes) {
  std::vector<absl::string_view> pieces;
  size_t start = 0;
  for (const size_t cut : cuts) {
    pieces.push_back(text.substr(start, cut - start));
    start = cut + separator_bytes;
  }
  pieces.push_back(text.substr(start));
  return pieces;
}

}  // namespace

bool IsSpace(uint32_t c) {
  if (c < 0x80) return c == ' ' || (c >= '\t' && c <= '\r') || (c >= 0x1C && c <= 0x1F);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool IsPrintable(uint32_t c) {
  if (c < 0x80) return c >= ' ' && c < 0x7F;
  switch (Category(c)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return false;
    default:
      return true;
  }
}

bool IsWordStart(uint32_t c) {
  if (c < 0x80) return c == '_' || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
  const utf8proc_category_t category = Category(c);
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}

bool IsWord(uint32_t c) {
  if (c < 0x80) return IsWordStart(c) || (c >= '0' && c <= '9');
  const utf8proc_category_t category = Category(c);
  return IsWordStart(c) || (category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO);
}

int64_t CountCodePoints(absl::string_view text) {
  return std::count_if(text.begin(), text.end(),
                       [](char byte) { return (static_cast<uint8_t>(byte) & 0xC0) != 0x80; });
}

std::vector<uint32_t> CodePointOffsets(absl::string_view text) {
  std::vector<uint32_t> offsets;
  for (size_t i = 0; i < text.size(); ++i) {
    if ((static_cast<uint8_t>(text[i]) & 0xC0) != 0x80) offsets.push_back(static_cast<uint32_t>(i));
  }
  offsets.push_back(static_cast<uint32_t>(text.size()));
  return offsets;
}

absl::string_view StripSpace(absl::string_view text, Side side) {
  return StripIf(text, side, [](absl::string_view, uint32_t c) { return IsSpace(c); });
}

absl::string_view Strip(absl::string_view text, absl::string_view set, Side side) {
  return StripIf(text, side, [&](absl::string_view character, uint32_t) {
    return set.find(character) != absl::string_view::npos;
  });
}

std::vector<absl::string_view> SplitLines(absl::string_view text) {
  std::vector<absl::string_view> lines;
  size_t start = 0;
  for (size_t i = 0; i < text.size();) {
    const Utf8Step step = NextUtf8(text.substr(i));
    if (!IsLineEnd(step.code_point)) {
      i += step.bytes;
      continue;
    }
    lines.push_back(text.substr(start, i - start));
    i += text.substr(i, 2) == "\r\n" ? 2 : step.bytes;
    start = i;
  }
  if (start < text.size()) lines.push_back(text.substr(start));
  return lines;
}

std::vector<absl::string_view> SplitSpace(absl::string_view text, int64_t max_splits) {
  std::vector<absl::string_view> fields;
  text = StripSpace(text, Side::kLeft);
  while (!text.empty()) {
    if (max_splits >= 0 && static_cast<int64_t>(fields.size()) == max_splits) {
      fields.push_back(text);
      break;
    }
    size_t end = 0;
    while (end < text.size()) {
      const Utf8Step step = NextUtf8(text.substr(end));
      if (IsSpace(step.code_point)) break;
      end += step.bytes;
    }
    fields.push_back(text.substr(0, end));
    text = StripSpace(text.substr(end), Side::kLeft);
  }
  return fields;
}

std::vector<absl::string_view> SplitAt(absl::string_view text, absl::string_view separator,
                                       int64_t max_splits, bool from_right) {
  if (from_right) {
    // The cuts from the right are those from the left of the text read backwards.
    std::vector<size_t> cuts = Cuts(Reversed(text), Reversed(separator), max_splits);
    for (size_t& cut : cuts) cut = text.size() - cut - separator.size();
    std::reverse(cuts.begin(), cuts.end());
    return CutAt(text, cuts, separator.size());
  }
  return CutAt(text, Cuts(text, separator, max_splits), separator.size());
}

size_t FindText(absl::string_view text, absl::string_view piece, size_t start) {
  if (start > text.size()) return absl::string_view::npos;
  if (piece.empty()) return start;
  // glibc's memmem is the two-way algorithm: linear, where string::find is quadratic at worst.
  const void* found = memmem(text.data() + start, text.size() - start, piece.data(), piece.size());
  if (found == nullptr) return absl::string_view::npos;
  return static_cast<size_t>(static_cast<const char*>(found) - text.data());
}

size_t FindLastText(absl::string_view text, absl::string_view piece) {
  const size_t found = FindText(Reversed(text), Reversed(piece));
  return found == absl::string_view::npos ? found : text.size() - found - piece.size();
}

}  // namespace transmla::jinja
