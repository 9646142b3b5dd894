// Renders templates with variables given as JSON, for tests.
#ifndef TRANSMLA_TESTS_ENGINE_TOKENIZER_TEMPLATE_RENDERING_H_
#define TRANSMLA_TESTS_ENGINE_TOKENIZER_TEMPLATE_RENDERING_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

#include "engine/tokenizer/template_value.h"

namespace transmla::testing {

// 26 July 2024, 14:05:09 local time: what tests/golden/make_chat_templates.py calls now.
absl::Time GoldenNow();

// The template's output, for the variables that are the entries of `variables`, at GoldenNow().
absl::StatusOr<std::string> Render(absl::string_view source, const jinja::Dict& variables);
// `variables` is a JSON object.
absl::StatusOr<std::string> Render(absl::string_view source, absl::string_view variables = "{}");

}  // namespace transmla::testing

#endif  // TRANSMLA_TESTS_ENGINE_TOKENIZER_TEMPLATE_RENDERING_H_
