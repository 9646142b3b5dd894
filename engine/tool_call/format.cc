#include "engine/tool_call/format.h"

#include "absl/strings/match.h"

namespace transmla {

ToolCallFormat DetectToolCallFormat(absl::string_view chat_template_source) {
  for (const ToolCallFormat format :
       {ToolCallFormat::kMistral, ToolCallFormat::kHermes, ToolCallFormat::kLlama3}) {
    if (absl::StrContains(chat_template_source, OpeningMarker(format))) return format;
  }
  // Llama 3.2 calls without the control token; this line of its system message is what is left.
  if (absl::StrContains(chat_template_source, "Environment: ipython")) {
    return ToolCallFormat::kLlama3;
  }
  return ToolCallFormat::kNone;
}

absl::string_view OpeningMarker(ToolCallFormat format) {
  switch (format) {
    case ToolCallFormat::kNone:
      return "";
    case ToolCallFormat::kHermes:
      return "<tool_call>";
    case ToolCallFormat::kLlama3:
      return "<|python_tag|>";
    case ToolCallFormat::kMistral:
      return "[TOOL_CALLS]";
  }
  return "";
}

}  // namespace transmla
