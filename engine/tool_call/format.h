// ToolCallFormat: how a chat family writes the calls of tools into its replies.
#ifndef TRANSMLA_ENGINE_TOOL_CALL_FORMAT_H_
#define TRANSMLA_ENGINE_TOOL_CALL_FORMAT_H_

#include "absl/strings/string_view.h"

namespace transmla {

enum class ToolCallFormat {
  kNone,
  kHermes,   // <tool_call>{"name": …, "arguments": {…}}</tool_call>: Qwen2.5, Hermes and others
  kLlama3,   // {"name": …, "parameters": {…}}, alone or after <|python_tag|>: Llama 3.1, 3.2
  kMistral,  // [TOOL_CALLS] [{"name": …, "arguments": {…}}, …], or [TOOL_CALLS]name[ARGS]{…}
};

// The format that a chat template shows its model; kNone if it shows none of these.
ToolCallFormat DetectToolCallFormat(absl::string_view chat_template_source);

// What opens a call in the middle of text; empty for kNone.
absl::string_view OpeningMarker(ToolCallFormat format);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_TOOL_CALL_FORMAT_H_
