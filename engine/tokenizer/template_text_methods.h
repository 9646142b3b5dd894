// Methods of text; FindMethod knows them by name.
#ifndef TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_TEXT_METHODS_H_
#define TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_TEXT_METHODS_H_

#include "absl/status/statusor.h"

#include "engine/tokenizer/template_callable.h"

namespace transmla::jinja {

// Null if there is none.
Builtin FindTextMethod(absl::string_view name);

// Two of them are filters as well. REQUIRES: input.IfText().
absl::StatusOr<Value> StripMethod(Runtime&, const Value& input, const Arguments&);
absl::StatusOr<Value> ReplaceMethod(Runtime&, const Value& input, const Arguments&);

}  // namespace transmla::jinja

#endif  // TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_TEXT_METHODS_H_
