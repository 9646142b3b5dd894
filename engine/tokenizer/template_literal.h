// Numbers and texts as a template writes them.
#ifndef TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_LITERAL_H_
#define TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_LITERAL_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "engine/tokenizer/template_value.h"

namespace transmla::jinja {

struct NumberLiteral {
  size_t bytes = 0;
  bool is_float = false;
};

// The number at the beginning of `text`, which is a digit. Underscores may part digits.
NumberLiteral ScanNumber(absl::string_view text, bool allow_float);

// The value of a number without underscores; InvalidArgument if it does not fit into 64 bits.
absl::StatusOr<Value> ReadInteger(absl::string_view digits);
absl::StatusOr<Value> ReadFloat(absl::string_view digits);

// What stands between the quotes, with Python's escapes replaced: \n, \x41, \u00e9, \101. A
// backslash before anything else stays. InvalidArgument for an escape without its digits and for
// \N.
absl::StatusOr<std::string> Unescape(absl::string_view quoted);

}  // namespace transmla::jinja

#endif  // TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_LITERAL_H_
