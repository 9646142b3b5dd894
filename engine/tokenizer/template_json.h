// Values from JSON and to it.
#ifndef TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_JSON_H_
#define TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_JSON_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "engine/tokenizer/template_value.h"

namespace transmla::jinja {

// Keeps the order of keys; of equal keys the last one's value counts. Integers beyond 64 bits
// become floating point. InvalidArgument with the byte for what is not JSON, not UTF-8, or nested
// deeper than kMaxValueDepth.
absl::StatusOr<Value> ParseJson(absl::string_view text, Budget& budget);

// As Python's json.dumps.
struct JsonStyle {
  bool pretty = false;  // each item on its own line, after its depth times `indent`
  std::string indent;
  std::string item_separator = ", ";
  std::string key_separator = ": ";
  bool ensure_ascii = false;
  bool sort_keys = false;
};

// Fails for what JSON cannot say: undefined values and functions.
void AppendJson(const Value& value, const JsonStyle& style, TextBuilder& out);

}  // namespace transmla::jinja

#endif  // TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_JSON_H_
