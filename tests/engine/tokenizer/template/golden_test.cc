// Chat templates of real models, and single features of Jinja, against what Python's jinja2 made of
// them (tests/golden/make_chat_templates.py): byte for byte, and failing where it fails.
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "engine/base/clock.h"
#include "engine/tokenizer/chat_template.h"
#include "engine/tokenizer/template_json.h"
#include "tests/engine/tokenizer/template/rendering.h"

namespace transmla {
namespace {

using jinja::Dict;
using jinja::Value;
using ::testing::HasSubstr;

constexpr absl::string_view kFolder = TRANSMLA_SOURCE_DIR "/tests/golden/chat_templates/";

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.is_open()) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

// The rows of a JSON lines file.
std::vector<Value> ReadRows(const std::string& path) {
  std::istringstream lines(ReadFile(path));
  std::vector<Value> rows;
  for (std::string line; std::getline(lines, line);) {
    jinja::Budget budget;
    absl::StatusOr<Value> row = jinja::ParseJson(line, budget);
    EXPECT_TRUE(row.ok()) << path << ": " << row.status();
    if (row.ok()) rows.push_back(*std::move(row));
  }
  return rows;
}

std::string TextOf(const Dict& row, absl::string_view key) {
  const Value* value = row.Find(key);
  return value == nullptr || value->IfText() == nullptr ? "" : *value->IfText();
}

// The same output as jinja2; where jinja2 failed, a failure in the same words.
void ExpectAsRecorded(const Dict& row, const absl::StatusOr<std::string>& output) {
  if (row.Find("output") != nullptr) {
    ASSERT_TRUE(output.ok()) << output.status();
    EXPECT_EQ(*output, TextOf(row, "output"));
  } else {
    ASSERT_FALSE(output.ok()) << *output;
    EXPECT_EQ(output.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(output.status().message()), HasSubstr(TextOf(row, "error")));
  }
}

std::string JsonOf(const Value& value) {
  jinja::Budget budget;
  jinja::TextBuilder text(budget);
  jinja::AppendJson(value, {}, text);
  return text.Take();
}

// The row's conversation as the server passes it; false if some message has no text or some
// variable has no place in ChatTemplateInput.
bool ToInput(const Dict& context, ChatTemplateInput& input) {
  for (const Dict::Entry& entry : context.entries()) {
    const Value& value = entry.value;
    if (*entry.key == "add_generation_prompt") {
      input.add_generation_prompt = *value.IfBool();
    } else if (*entry.key == "tools") {
      if (!value.IsNone()) input.tools_json = JsonOf(value);
    } else if (*entry.key != "messages" && *entry.key != "documents" && *entry.key != "bos_token" &&
               *entry.key != "eos_token") {
      return false;
    }
  }
  for (const Value& value : context.Find("messages")->IfList()->items) {
    const Dict& message = *value.IfDict();
    if (message.Find("content")->IfText() == nullptr) return false;
    input.messages.push_back({TextOf(message, "role"), TextOf(message, "content"),
                              TextOf(message, "name"), TextOf(message, "tool_call_id"), ""});
    if (const Value* calls = message.Find("tool_calls")) {
      input.messages.back().tool_calls_json = JsonOf(*calls);
    }
  }
  return true;
}

class GoldenTemplateTest : public ::testing::TestWithParam<std::string> {
 protected:
  const std::string source_ = ReadFile(absl::StrCat(kFolder, GetParam(), ".jinja"));
  const std::vector<Value> rows_ = ReadRows(absl::StrCat(kFolder, GetParam(), ".jsonl"));
};

TEST_P(GoldenTemplateTest, RendersAsJinja2) {
  ASSERT_GE(rows_.size(), 60u);
  for (const Value& value : rows_) {
    const Dict& row = *value.IfDict();
    SCOPED_TRACE(TextOf(row, "name"));
    ExpectAsRecorded(row, testing::Render(source_, *row.Find("context")->IfDict()));
  }
}

TEST_P(GoldenTemplateTest, RendersTheServersInputAsJinja2) {
  const FakeClock clock(testing::GoldenNow());
  int compared = 0;
  for (const Value& value : rows_) {
    const Dict& row = *value.IfDict();
    SCOPED_TRACE(TextOf(row, "name"));
    const Dict& context = *row.Find("context")->IfDict();
    ChatTemplateInput input;
    if (!ToInput(context, input)) continue;
    const auto parsed = ChatTemplate::Parse(source_, TextOf(context, "bos_token"),
                                            TextOf(context, "eos_token"), &clock);
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ((*parsed)->source(), source_);
    ExpectAsRecorded(row, (*parsed)->Render(input));
    ++compared;
  }
  EXPECT_GE(compared, 50);
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenTemplateTest,
                         ::testing::Values("smollm2-instruct", "qwen2.5-instruct",
                                           "llama-3.1-instruct", "llama-3.2-instruct",
                                           "mistral-7b-instruct-v0.3", "gemma-2-it"),
                         [](const auto& test) {
                           std::string name = test.param;
                           for (char& c : name) c = c == '-' || c == '.' ? '_' : c;
                           return name;
                         });

// Errors of syntax are in our own words, which error_test.cc checks.
TEST(GoldenSnippetTest, RendersAsJinja2) {
  const std::vector<Value> rows = ReadRows(absl::StrCat(kFolder, "snippets.jsonl"));
  ASSERT_GE(rows.size(), 90u);
  for (const Value& value : rows) {
    const Dict& row = *value.IfDict();
    const std::string source = TextOf(row, "source");
    SCOPED_TRACE(source);
    const absl::StatusOr<std::string> output =
        testing::Render(source, *row.Find("context")->IfDict());
    if (source.find("{%") == 0 && row.Find("error") != nullptr) {
      EXPECT_EQ(output.status().code(), absl::StatusCode::kInvalidArgument);
    } else if (source == "{{ (1 }}" || source == "{{ 'a }}") {
      EXPECT_EQ(output.status().code(), absl::StatusCode::kInvalidArgument);
    } else {
      ExpectAsRecorded(row, output);
    }
  }
}

// Features in combination, all with the variables of the first row.
TEST(GoldenFeatureTest, RendersAsJinja2) {
  const std::vector<Value> rows = ReadRows(absl::StrCat(kFolder, "features.jsonl"));
  ASSERT_GE(rows.size(), 100u);
  const Dict& context = *rows[0].IfDict()->Find("context")->IfDict();
  for (size_t i = 1; i < rows.size(); ++i) {
    const Dict& row = *rows[i].IfDict();
    SCOPED_TRACE(TextOf(row, "source"));
    ExpectAsRecorded(row, testing::Render(TextOf(row, "source"), context));
  }
}

}  // namespace
}  // namespace transmla
