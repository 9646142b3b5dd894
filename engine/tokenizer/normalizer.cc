#include "engine/tokenizer/normalizer.h"

#include <algorithm>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include <nlohmann/json.hpp>
#include <utf8proc.h>

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/base/utf8.h"
#include "engine/tokenizer/json_fields.h"

namespace transmla {
namespace {

using CodePoints = std::vector<utf8proc_int32_t>;

void AppendDecomposed(uint32_t code_point, CodePoints& out) {
  utf8proc_int32_t parts[32];  // the longest canonical decomposition has 4
  const utf8proc_ssize_t count = utf8proc_decompose_char(
      static_cast<utf8proc_int32_t>(code_point), parts, 32,
      static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE), nullptr);
  CHECK(count >= 0 && count <= 32);
  out.insert(out.end(), parts, parts + count);
}

int CombiningClass(utf8proc_int32_t c) { return utf8proc_get_property(c)->combining_class; }

// Canonical order: marks that follow one another by class, otherwise as they were. The library's
// own ordering takes quadratic time, which a text of marks alone could make last for hours.
void OrderMarks(CodePoints& text) {
  for (auto mark = text.begin(); mark != text.end();) {
    if (CombiningClass(*mark) == 0) {
      ++mark;
      continue;
    }
    const auto end = std::find_if(mark, text.end(), [](auto c) { return CombiningClass(c) == 0; });
    std::stable_sort(mark, end,
                     [](auto a, auto b) { return CombiningClass(a) < CombiningClass(b); });
    mark = end;
  }
}

}  // namespace

std::string ToNfc(absl::string_view text) {
  if (std::all_of(text.begin(), text.end(),
                  [](char c) { return absl::ascii_isascii(static_cast<unsigned char>(c)); })) {
    return std::string(text);
  }
  CodePoints points;
  points.reserve(text.size());
  while (!text.empty()) {
    const Utf8Step step = NextUtf8(text);
    AppendDecomposed(step.code_point, points);
    text.remove_prefix(static_cast<size_t>(step.bytes));
  }
  OrderMarks(points);
  const utf8proc_ssize_t count =
      utf8proc_normalize_utf32(points.data(), static_cast<utf8proc_ssize_t>(points.size()),
                               static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  CHECK(count >= 0 && count <= static_cast<utf8proc_ssize_t>(points.size()));
  std::string out;
  for (utf8proc_ssize_t i = 0; i < count; ++i) {
    AppendUtf8(static_cast<uint32_t>(points[static_cast<size_t>(i)]), out);
  }
  return out;
}

absl::StatusOr<Normalizer> Normalizer::FromJson(const std::string& where,
                                                const nlohmann::json& section) {
  if (section.is_null()) return Normalizer(false);
  ASSIGN_OR_RETURN(const JsonFields fields, JsonFields::Of(where, section));
  ASSIGN_OR_RETURN(const std::string type, fields.RequireText("type"));
  if (type == "NFC") return Normalizer(true);
  if (type != "Sequence") {
    return absl::UnimplementedError(absl::StrCat(fields.Where("type"), " is \"", type,
                                                 "\"; supported for byte-level models is NFC"));
  }
  bool nfc = false;
  ASSIGN_OR_RETURN(const nlohmann::json* parts, fields.RequireArray("normalizers"));
  for (size_t i = 0; i < parts->size(); ++i) {
    ASSIGN_OR_RETURN(const Normalizer part,
                     FromJson(absl::StrCat(where, ".normalizers[", i, "]"), (*parts)[i]));
    nfc = nfc || part.nfc_;
  }
  return Normalizer(nfc);
}

std::string Normalizer::Normalize(absl::string_view text) const {
  return nfc_ ? ToNfc(text) : std::string(text);
}

}  // namespace transmla
