// ChatTemplate renders a conversation as the prompt its model was trained on: the model's own Jinja
// template.
//
// The subset of Jinja that the templates of Llama 3, Qwen2.5, SmolLM2, Mistral and Gemma use,
// rendered as Hugging Face does (trim_blocks and lstrip_blocks on). A template is untrusted input:
// its size, and the steps, depth and memory of rendering are limited (template_limits.h). What of
// Jinja there is: template_parser.h, and the lists in
// template_{filters,tests,functions,text_methods}.cc.
//
// A template sees messages, tools (none without them), documents (none), add_generation_prompt,
// bos_token and eos_token.
#ifndef TRANSMLA_ENGINE_TOKENIZER_CHAT_TEMPLATE_H_
#define TRANSMLA_ENGINE_TOKENIZER_CHAT_TEMPLATE_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "engine/base/clock.h"

namespace transmla {

struct ChatMessage {
  std::string role;  // "system", "user", "assistant", "tool"
  std::string content;
  std::string name;             // optional
  std::string tool_call_id;     // of a tool's answer, optional
  std::string tool_calls_json;  // JSON array of an assistant's calls, optional
};

struct ChatTemplateInput {
  std::vector<ChatMessage> messages;
  bool add_generation_prompt = true;
  std::string tools_json;  // JSON array of tool definitions, or empty
};

// Immutable, thread-safe.
class ChatTemplate {
 public:
  virtual ~ChatTemplate() = default;
  // InvalidArgument names the template's line. An empty bos_text or eos_text leaves the variable
  // undefined. The clock, for templates that write the date (local time), is not owned.
  static absl::StatusOr<std::shared_ptr<const ChatTemplate>> Parse(
      const std::string& source, const std::string& bos_text, const std::string& eos_text,
      const Clock* clock = SystemClock());
  // InvalidArgument: the template refused ("the chat template refuses the conversation: …",
  // raise_exception), it failed
  // ("chat template line 7: …"), JSON is broken ("tools: not JSON at byte 5 …") or no array of
  // objects, or a limit was reached. Invalid UTF-8 is read as U+FFFD.
  virtual absl::StatusOr<std::string> Render(const ChatTemplateInput& input) const = 0;
  // As written in the model.
  virtual const std::string& source() const = 0;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_TOKENIZER_CHAT_TEMPLATE_H_
