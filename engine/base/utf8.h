// UTF-8: validation and replacement as the Encoding Standard (WHATWG) defines it, one U+FFFD for
// each maximal invalid part.
#ifndef TRANSMLA_ENGINE_BASE_UTF8_H_
#define TRANSMLA_ENGINE_BASE_UTF8_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace transmla {

inline constexpr absl::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

struct Utf8Step {
  int bytes = 0;           // how many the step covers, at least 1 for a text that is not empty
  bool valid = false;      // a whole character
  bool truncated = false;  // not valid, but more bytes could make it so
  uint32_t code_point = 0;
};

// Looks at the first character, or invalid part, of `text`.
Utf8Step NextUtf8(absl::string_view text);

// `text` with invalid parts replaced.
std::string ReplaceInvalidUtf8(absl::string_view text);

// Appends a code point. REQUIRES: at most U+10FFFF.
void AppendUtf8(uint32_t code_point, std::string& out);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_BASE_UTF8_H_
