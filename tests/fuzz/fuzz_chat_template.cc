// Any bytes as a chat template, and after a zero byte as tools: parsing and rendering end, refuse
// with InvalidArgument only, and what they give is UTF-8 of bounded size.
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"

#include "engine/base/check.h"
#include "engine/base/clock.h"
#include "engine/base/utf8.h"
#include "engine/tokenizer/chat_template.h"
#include "engine/tokenizer/template_limits.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace transmla;  // NOLINT: one function
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  const size_t zero = bytes.find('\0');
  static const FakeClock clock;
  const auto parsed = ChatTemplate::Parse(bytes.substr(0, zero), "<s>", "</s>", &clock);
  if (!parsed.ok()) {
    CHECK(parsed.status().code() == absl::StatusCode::kInvalidArgument);
    return 0;
  }
  ChatTemplateInput input;
  input.messages = {
      {"system", "Be brief. ", "", "", ""},
      {"user", "h\u00E9llo <b>\n", "", "", ""},
      {"assistant", "", "", "",
       R"([{"id":"abcDEF123","type":"function","function":{"name":"f","arguments":{"x":[1,2.5,null]}}}])"},
      {"tool", "{\"y\": 1}", "f", "abcDEF123", ""},
  };
  if (zero != std::string::npos) input.tools_json = bytes.substr(zero + 1);
  const absl::StatusOr<std::string> output = (*parsed)->Render(input);
  if (!output.ok()) {
    CHECK(output.status().code() == absl::StatusCode::kInvalidArgument);
    return 0;
  }
  CHECK_LE(static_cast<int64_t>(output->size()), jinja::kMaxTemplateTextBytes);
  CHECK(ReplaceInvalidUtf8(*output) == *output);
  return 0;
}
