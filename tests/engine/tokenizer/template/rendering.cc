#include "tests/engine/tokenizer/template/rendering.h"

#include "engine/base/clock.h"
#include "engine/base/status.h"
#include "engine/tokenizer/template_eval.h"
#include "engine/tokenizer/template_json.h"
#include "engine/tokenizer/template_parser.h"

namespace transmla::testing {

absl::Time GoldenNow() {
  return absl::FromCivil(absl::CivilSecond(2024, 7, 26, 14, 5, 9), absl::LocalTimeZone());
}

absl::StatusOr<std::string> Render(absl::string_view source, const jinja::Dict& variables) {
  ASSIGN_OR_RETURN(const jinja::Block parsed, jinja::ParseTemplate(source));
  jinja::Variables named;
  for (const jinja::Dict::Entry& entry : variables.entries()) {
    named.emplace_back(*entry.key, entry.value);
  }
  const FakeClock clock(GoldenNow());
  jinja::Runtime runtime;
  runtime.clock = &clock;
  return jinja::RenderTemplate(parsed, named, runtime);
}

absl::StatusOr<std::string> Render(absl::string_view source, absl::string_view variables) {
  jinja::Budget budget;
  ASSIGN_OR_RETURN(const jinja::Value value, jinja::ParseJson(variables, budget));
  return Render(source, *value.IfDict());
}

}  // namespace transmla::testing
