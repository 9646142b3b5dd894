#include "engine/tokenizer/chat_template.h"

#include <utility>

#include "absl/strings/str_cat.h"

#include "engine/base/status.h"
#include "engine/base/utf8.h"
#include "engine/tokenizer/template_eval.h"
#include "engine/tokenizer/template_json.h"
#include "engine/tokenizer/template_parser.h"

namespace transmla {
namespace {

using jinja::Budget;
using jinja::Value;

// A JSON array of objects, as tools and calls are.
absl::StatusOr<Value> ParseObjects(absl::string_view what, const std::string& json,
                                   Budget& budget) {
  absl::StatusOr<Value> value = jinja::ParseJson(json, budget);
  if (!value.ok()) return Annotate(value.status(), what);
  const jinja::List* list = value->IfList();
  if (list == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, ": a JSON array is needed, not a ", value->TypeName()));
  }
  for (size_t i = 0; i < list->items.size(); ++i) {
    if (list->items[i].IfDict() != nullptr) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        what, "[", i, "]: a JSON object is needed, not a ", list->items[i].TypeName()));
  }
  return value;
}

absl::StatusOr<Value> MessageValue(const ChatMessage& message, size_t index, Budget& budget) {
  auto dict = std::make_shared<jinja::Dict>();
  const auto set = [&](absl::string_view key, const std::string& text) -> absl::Status {
    ASSIGN_OR_RETURN(Value value, jinja::MakeText(ReplaceInvalidUtf8(text), budget));
    return dict->Set(key, std::move(value), budget);
  };
  RETURN_IF_ERROR(set("role", message.role));
  RETURN_IF_ERROR(set("content", message.content));
  if (!message.name.empty()) RETURN_IF_ERROR(set("name", message.name));
  if (!message.tool_call_id.empty()) RETURN_IF_ERROR(set("tool_call_id", message.tool_call_id));
  if (!message.tool_calls_json.empty()) {
    ASSIGN_OR_RETURN(Value calls, ParseObjects(absl::StrCat("messages[", index, "].tool_calls"),
                                               message.tool_calls_json, budget));
    RETURN_IF_ERROR(dict->Set("tool_calls", std::move(calls), budget));
  }
  return Value::Of(std::shared_ptr<const jinja::Dict>(std::move(dict)));
}

class JinjaChatTemplate : public ChatTemplate {
 public:
  JinjaChatTemplate(std::string source, jinja::Block parsed, jinja::Variables tokens,
                    const Clock* clock)
      : source_(std::move(source)),
        parsed_(std::move(parsed)),
        tokens_(std::move(tokens)),
        clock_(clock) {}

  absl::StatusOr<std::string> Render(const ChatTemplateInput& input) const override {
    jinja::Runtime runtime;
    runtime.clock = clock_;
    std::vector<Value> messages;
    for (size_t i = 0; i < input.messages.size(); ++i) {
      ASSIGN_OR_RETURN(Value message, MessageValue(input.messages[i], i, runtime.budget));
      messages.push_back(std::move(message));
    }
    jinja::Variables variables = tokens_;
    ASSIGN_OR_RETURN(Value list, jinja::MakeList(std::move(messages), runtime.budget));
    variables.emplace_back("messages", std::move(list));
    Value tools = Value::None();
    if (!input.tools_json.empty()) {
      ASSIGN_OR_RETURN(tools, ParseObjects("tools", input.tools_json, runtime.budget));
    }
    variables.emplace_back("tools", std::move(tools));
    variables.emplace_back("documents", Value::None());  // Hugging Face defines it always
    variables.emplace_back("add_generation_prompt", Value::Bool(input.add_generation_prompt));
    return jinja::RenderTemplate(parsed_, variables, runtime);
  }

  const std::string& source() const override { return source_; }

 private:
  const std::string source_;
  const jinja::Block parsed_;
  const jinja::Variables tokens_;  // bos_token and eos_token, if the model has them
  const Clock* const clock_;
};

}  // namespace

absl::StatusOr<std::shared_ptr<const ChatTemplate>> ChatTemplate::Parse(const std::string& source,
                                                                        const std::string& bos_text,
                                                                        const std::string& eos_text,
                                                                        const Clock* clock) {
  ASSIGN_OR_RETURN(jinja::Block parsed, jinja::ParseTemplate(source));
  jinja::Variables tokens;
  const std::pair<absl::string_view, const std::string&> texts[] = {{"bos_token", bos_text},
                                                                    {"eos_token", eos_text}};
  for (const auto& [name, text] : texts) {
    if (!text.empty()) tokens.emplace_back(name, Value::Text(ReplaceInvalidUtf8(text)));
  }
  return std::make_shared<const JinjaChatTemplate>(source, std::move(parsed), std::move(tokens),
                                                   clock);
}

}  // namespace transmla
