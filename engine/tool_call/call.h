// ToolCall: what a model asks a tool for, and how it is read from JSON.
#ifndef TRANSMLA_ENGINE_TOOL_CALL_CALL_H_
#define TRANSMLA_ENGINE_TOOL_CALL_CALL_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace transmla {

struct ToolCall {
  std::string name;
  // A JSON object without white space between its tokens, keys in the model's order, numbers that
  // no 64-bit integer holds as the model wrote them.
  std::string arguments;
};

// The calls that an object, or each object of an array, describes: exactly one "name", a string
// that is not empty, and exactly one object that is called "arguments" or "parameters"; other keys
// are passed over. Empty if `json` is not JSON or if any of it is no call, so that a caller never
// acts on a part. Time and memory are linear in the text, whatever its keys.
std::vector<ToolCall> ReadToolCalls(absl::string_view json);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_TOOL_CALL_CALL_H_
