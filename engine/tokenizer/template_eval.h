// Renders a parsed chat template.
#ifndef TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_EVAL_H_
#define TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_EVAL_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

#include "engine/tokenizer/template_ast.h"

namespace transmla::jinja {

using Variables = std::vector<std::pair<std::string, Value>>;

// The template's output for these variables. Other names are undefined, the functions of
// template_functions.cc excepted.
//
// InvalidArgument: "chat template line 7: …" for what goes wrong and for a limit that is passed
// (template_limits.h); "the chat template refuses the conversation: …" for raise_exception.
// `runtime` is for one rendering; its budget may have been charged already. Thread-safe: the
// template is only read.
absl::StatusOr<std::string> RenderTemplate(const Block& parsed, const Variables& variables,
                                           Runtime& runtime);

}  // namespace transmla::jinja

#endif  // TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_EVAL_H_
