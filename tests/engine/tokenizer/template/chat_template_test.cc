// ChatTemplate as the server uses it: what the template sees, and what is wrong with the input.
#include "engine/tokenizer/chat_template.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace transmla {
namespace {

using ::testing::HasSubstr;

absl::StatusOr<std::string> RenderWith(const std::string& source, const ChatTemplateInput& input) {
  const auto parsed = ChatTemplate::Parse(source, "<s>", "</s>");
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  return (*parsed)->Render(input);
}

TEST(ChatTemplateTest, TemplateSeesWhatIsGivenAndNoMore) {
  ChatTemplateInput input;
  input.messages = {{"user", "hi", "", "", ""},
                    {"assistant", "", "", "",
                     R"([{"id":"a","function":{"name":"f","arguments":{"z":1,"a":2}}}])"},
                    {"tool", "42", "f", "a", ""}};
  const auto output = RenderWith(
      "{{ bos_token }}{{ messages | tojson }}{{ tools }}{{ documents }}{{ add_generation_prompt }}"
      "{{ date_string is defined }}{{ eos_token }}",
      input);
  ASSERT_TRUE(output.ok()) << output.status();
  EXPECT_EQ(
      *output,
      R"(<s>[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "", )"
      R"("tool_calls": [{"id": "a", "function": {"name": "f", "arguments": {"z": 1, "a": 2}}}]}, )"
      R"({"role": "tool", "content": "42", "name": "f", "tool_call_id": "a"}])"
      R"(NoneNoneTrueFalse</s>)");
}

TEST(ChatTemplateTest, ToolsKeepTheOrderOfTheirKeys) {
  ChatTemplateInput input;
  input.tools_json = R"([{"z": 1, "a": {"y": [1.0, "é"], "b": null}}])";
  const auto output = RenderWith("{% for tool in tools %}{{ tool | tojson }}{% endfor %}", input);
  ASSERT_TRUE(output.ok()) << output.status();
  EXPECT_EQ(*output, R"({"z": 1, "a": {"y": [1.0, "é"], "b": null}})");
}

TEST(ChatTemplateTest, ModelWithoutTokensLeavesThemUndefined) {
  const auto parsed =
      ChatTemplate::Parse("{{ bos_token is defined }}{{ eos_token is defined }}", "", "e");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const auto output = (*parsed)->Render({});
  ASSERT_TRUE(output.ok()) << output.status();
  EXPECT_EQ(*output, "FalseTrue");
}

TEST(ChatTemplateTest, InvalidUtf8IsReplaced) {
  ChatTemplateInput input;
  input.messages = {{"user", "a\xFFz", "", "", ""}};
  const auto output =
      RenderWith("{{ messages[0].content }}{{ messages[0].content | length }}\xC3", input);
  ASSERT_TRUE(output.ok()) << output.status();
  EXPECT_EQ(*output, "a\uFFFDz3\uFFFD");
}

TEST(ChatTemplateTest, ConversationIsDataNotTemplate) {
  ChatTemplateInput input;
  input.messages = {{"user", "{{ 1 + 1 }}{% bogus %}", "", "", ""}};
  const auto output = RenderWith("{{ messages[0].content }}", input);
  ASSERT_TRUE(output.ok()) << output.status();
  EXPECT_EQ(*output, "{{ 1 + 1 }}{% bogus %}");
}

TEST(ChatTemplateTest, BrokenToolsAreNamed) {
  const std::pair<std::string, std::string> cases[] = {
      {"[", "tools: not JSON at byte 2: parse error"},
      {"[] []", "tools: not JSON at byte 4"},
      {"{}", "tools: a JSON array is needed, not a dict"},
      {"null", "tools: a JSON array is needed, not a NoneType"},
      {"[{}, 1]", "tools[1]: a JSON object is needed, not a int"},
      {"[{\"a\": \"\xFF\"}]", "tools: not JSON at byte"},
      {R"([{"a": "\ud800"}])", "tools: not JSON at byte"},
      {"[{\"a\": 1e999}]", "tools: not JSON at byte"},
  };
  for (const auto& [json, message] : cases) {
    SCOPED_TRACE(json);
    ChatTemplateInput input;
    input.tools_json = json;
    const auto output = RenderWith("x", input);
    EXPECT_EQ(output.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(output.status().message()), HasSubstr(message));
  }
}

TEST(ChatTemplateTest, BrokenToolCallsNameTheMessage) {
  ChatTemplateInput input;
  input.messages = {{"user", "hi", "", "", ""}, {"assistant", "", "", "", "[1]"}};
  const auto output = RenderWith("x", input);
  EXPECT_EQ(output.status(),
            absl::InvalidArgumentError("messages[1].tool_calls[0]: a JSON object is "
                                       "needed, not a int"));
}

TEST(ChatTemplateTest, SyntaxErrorsComeFromParse) {
  const auto parsed = ChatTemplate::Parse("a\n{{ 1 + }}", "", "");
  EXPECT_EQ(parsed.status(),
            absl::InvalidArgumentError("chat template line 2: unexpected '}}', expected "
                                       "an expression"));
}

}  // namespace
}  // namespace transmla
