// How values become text: Python's str and repr.
#ifndef TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_FORMAT_H_
#define TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_FORMAT_H_

#include <string>

#include "absl/status/statusor.h"

#include "engine/tokenizer/template_value.h"

namespace transmla::jinja {

// The shortest digits that read back as `value`, laid out as Python's repr does: 0.1, 1e+16, 1.0.
std::string FormatFloat(double value);
std::string FormatInteger(Integer value);

// Text as it is, other values as Python prints them; undefined is empty. Fails for namespaces,
// loops and functions, which Python prints with an address.
void AppendStr(const Value& value, TextBuilder& out);
// Text in quotes.
void AppendRepr(const Value& value, TextBuilder& out);

// AppendStr alone; texts are shared, not copied.
absl::StatusOr<Value> ToText(const Value& value, Budget& budget);

}  // namespace transmla::jinja

#endif  // TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_FORMAT_H_
