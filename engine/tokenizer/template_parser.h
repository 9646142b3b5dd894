// Parses a chat template: the subset of Jinja that published chat templates use.
//
// Statements: for (with else, if, break, continue), if, set, macro, filter, raw, generation.
// Not there, and an error: inheritance, include, import, call, with, autoescape, do, trans,
// recursive loops, *args and **kwargs; macros anywhere but at the top level or in an if of it.
#ifndef TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_PARSER_H_
#define TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_PARSER_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "engine/tokenizer/template_ast.h"

namespace transmla::jinja {

// Invalid UTF-8 is read as U+FFFD. InvalidArgument naming the line, or the limit
// (template_limits.h).
absl::StatusOr<Block> ParseTemplate(absl::string_view source);

}  // namespace transmla::jinja

#endif  // TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_PARSER_H_
