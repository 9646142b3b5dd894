// The part of template_text.h about upper and lower case.
#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include <utf8proc.h>

#include "engine/base/utf8.h"
#include "engine/tokenizer/template_text.h"

namespace transmla::jinja {
namespace {

// Characters whose capital is several (Unicode, SpecialCasing.txt; Latin and Armenian).
constexpr std::array<std::pair<uint32_t, absl::string_view>, 16> kLongCapitals = {{
    {0x00DF, "SS"},
    {0x0149, "\u02BCN"},
    {0x01F0, "J\u030C"},
    {0x0587, "\u0535\u0552"},
    {0x1E96, "H\u0331"},
    {0x1E97, "T\u0308"},
    {0x1E98, "W\u030A"},
    {0x1E99, "Y\u030A"},
    {0x1E9A, "A\u02BE"},
    {0xFB00, "FF"},
    {0xFB01, "FI"},
    {0xFB02, "FL"},
    {0xFB03, "FFI"},
    {0xFB04, "FFL"},
    {0xFB05, "ST"},
    {0xFB06, "ST"},
}};

void AppendUpper(uint32_t c, std::string& out) {
  const auto* found = std::find_if(kLongCapitals.begin(), kLongCapitals.end(),
                                   [&](const auto& entry) { return entry.first == c; });
  if (found != kLongCapitals.end()) {
    absl::StrAppend(&out, found->second);
  } else {
    AppendUtf8(static_cast<uint32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c))), out);
  }
}

constexpr uint32_t kCapitalDottedI = 0x0130;

void AppendLower(uint32_t c, std::string& out) {
  if (c == kCapitalDottedI) return absl::StrAppend(&out, "i\u0307");
  AppendUtf8(static_cast<uint32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))), out);
}

void AppendTitle(uint32_t c, std::string& out) {
  const auto title = static_cast<uint32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c)));
  std::string upper;
  AppendUpper(c, upper);
  if (CountCodePoints(upper) == 1) {
    AppendUtf8(title, out);
    return;
  }
  // "SS" becomes "Ss".
  const int first = NextUtf8(upper).bytes;
  out.append(upper, 0, first);
  absl::StrAppend(&out, Lower(absl::string_view(upper).substr(first)));
}

enum class Case { kNone, kUpper, kTitle, kLower };

Case CaseOf(uint32_t c) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
      return Case::kUpper;
    case UTF8PROC_CATEGORY_LT:
      return Case::kTitle;
    case UTF8PROC_CATEGORY_LL:
      return Case::kLower;
    default:
      return Case::kNone;
  }
}

// Calls visit(code point) for each.
template <typename Visitor>
void ForEach(absl::string_view text, const Visitor& visit) {
  while (!text.empty()) {
    const Utf8Step step = NextUtf8(text);
    visit(step.code_point);
    text.remove_prefix(step.bytes);
  }
}

bool AllOfCase(absl::string_view text, Case wanted) {
  bool any = false, all = true;
  ForEach(text, [&](uint32_t c) {
    const Case found = CaseOf(c);
    if (found == Case::kNone) return;
    any = true;
    all = all && found == wanted;
  });
  return any && all;
}

}  // namespace

std::string Upper(absl::string_view text) {
  std::string out;
  ForEach(text, [&](uint32_t c) { AppendUpper(c, out); });
  return out;
}

std::string Lower(absl::string_view text) {
  std::string out;
  ForEach(text, [&](uint32_t c) { AppendLower(c, out); });
  return out;
}

std::string Capitalize(absl::string_view text) {
  std::string out;
  ForEach(text, [&](uint32_t c) { out.empty() ? AppendTitle(c, out) : AppendLower(c, out); });
  return out;
}

std::string Title(absl::string_view text) {
  std::string out;
  bool in_word = false;
  ForEach(text, [&](uint32_t c) {
    in_word ? AppendLower(c, out) : AppendTitle(c, out);
    in_word = CaseOf(c) != Case::kNone;
  });
  return out;
}

std::string TitleWords(absl::string_view text) {
  std::string out;
  bool in_word = false;
  ForEach(text, [&](uint32_t c) {
    const bool separates = IsSpace(c) || c == '-' || c == '(' || c == '[' || c == '{' || c == '<';
    in_word || separates ? AppendLower(c, out) : AppendUpper(c, out);
    in_word = !separates;
  });
  return out;
}

bool IsUpper(absl::string_view text) { return AllOfCase(text, Case::kUpper); }

bool IsLower(absl::string_view text) { return AllOfCase(text, Case::kLower); }

}  // namespace transmla::jinja
