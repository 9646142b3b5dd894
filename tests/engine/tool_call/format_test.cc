#include "engine/tool_call/format.h"

#include <fstream>
#include <iterator>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace transmla {
namespace {

std::string Template(absl::string_view name) {
  std::ifstream file(
      absl::StrCat(TRANSMLA_SOURCE_DIR, "/tests/golden/chat_templates/", name, ".jinja"));
  std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  EXPECT_FALSE(text.empty()) << name;
  return text;
}

TEST(FormatTest, IsTheOneThatATemplateShows) {
  EXPECT_EQ(DetectToolCallFormat(Template("qwen2.5-instruct")), ToolCallFormat::kHermes);
  EXPECT_EQ(DetectToolCallFormat(Template("llama-3.1-instruct")), ToolCallFormat::kLlama3);
  EXPECT_EQ(DetectToolCallFormat(Template("llama-3.2-instruct")), ToolCallFormat::kLlama3);
  EXPECT_EQ(DetectToolCallFormat(Template("mistral-7b-instruct-v0.3")), ToolCallFormat::kMistral);
  EXPECT_EQ(DetectToolCallFormat(Template("gemma-2-it")), ToolCallFormat::kNone);
  EXPECT_EQ(DetectToolCallFormat(Template("smollm2-instruct")), ToolCallFormat::kNone);
  EXPECT_EQ(DetectToolCallFormat(""), ToolCallFormat::kNone);
}

}  // namespace
}  // namespace transmla
