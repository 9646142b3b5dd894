// What Python's str does, on UTF-8: code points, white space, case, lines.
//
// Case is mapped one character at a time. Python's rules that look further are not followed: a
// sigma at a word's end, and capitals of several characters beyond those of Latin and Armenian.
#ifndef TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_TEXT_H_
#define TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_TEXT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace transmla::jinja {

bool IsSpace(uint32_t code_point);      // str.isspace
bool IsPrintable(uint32_t code_point);  // str.isprintable
bool IsWordStart(uint32_t code_point);  // may begin a name: a letter or "_"
bool IsWord(uint32_t code_point);       // may go on in one: digits too

// O(text.size()), as all below.
int64_t CountCodePoints(absl::string_view text);
// Of each code point, and text.size() at the end.
std::vector<uint32_t> CodePointOffsets(absl::string_view text);

enum class Side { kLeft, kRight, kBoth };
absl::string_view StripSpace(absl::string_view text, Side side);
// Characters that are in `set`.
absl::string_view Strip(absl::string_view text, absl::string_view set, Side side);

std::string Upper(absl::string_view text);
std::string Lower(absl::string_view text);
std::string Capitalize(absl::string_view text);  // the first character upper, the rest lower
std::string Title(absl::string_view text);       // str.title: words are runs of letters
std::string TitleWords(absl::string_view text);  // Jinja's filter: words end at space and - ( [ { <
bool IsUpper(absl::string_view text);            // has letters with case, all of them upper
bool IsLower(absl::string_view text);

// Without line ends; those of Unicode count as well.
std::vector<absl::string_view> SplitLines(absl::string_view text);
// Fields between runs of white space; at most `max_splits` cuts from the left, any number if
// negative.
std::vector<absl::string_view> SplitSpace(absl::string_view text, int64_t max_splits);
// REQUIRES: separator is not empty. From the right if `from_right`.
std::vector<absl::string_view> SplitAt(absl::string_view text, absl::string_view separator,
                                       int64_t max_splits, bool from_right);

// Byte position of the first `piece` from `start` on, or npos. Linear time for every input.
size_t FindText(absl::string_view text, absl::string_view piece, size_t start = 0);
size_t FindLastText(absl::string_view text, absl::string_view piece);

}  // namespace transmla::jinja

#endif  // TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_TEXT_H_
