#include "engine/tokenizer/pretokenizer.h"

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <nlohmann/json.hpp>

namespace transmla {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<std::string> Split(const std::string& section, const std::string& text) {
  const auto pretokenizer = Pretokenizer::FromJson("test", json::parse(section));
  EXPECT_TRUE(pretokenizer.ok()) << pretokenizer.status();
  Words words;
  const absl::Status status = pretokenizer->Split(text, words);
  EXPECT_TRUE(status.ok()) << status;
  return {words.pieces.begin(), words.pieces.end()};
}

std::string SplitSection(const std::string& behavior, bool invert) {
  return absl::StrCat(R"({"type":"Split","pattern":{"String":"-"},"behavior":")", behavior,
                      R"(","invert":)", invert ? "true" : "false", "}");
}

// Expected: tokenizers' pre_tokenizers.Split("-", behavior, invert).pre_tokenize_str("a--b-").
TEST(PretokenizerTest, SplitBehaviors) {
  const std::string text = "a--b-";
  EXPECT_THAT(Split(SplitSection("Removed", false), text), ElementsAre("a", "b"));
  EXPECT_THAT(Split(SplitSection("Isolated", false), text), ElementsAre("a", "-", "-", "b", "-"));
  EXPECT_THAT(Split(SplitSection("MergedWithPrevious", false), text), ElementsAre("a-", "-", "b-"));
  EXPECT_THAT(Split(SplitSection("MergedWithNext", false), text), ElementsAre("a", "-", "-b", "-"));
  EXPECT_THAT(Split(SplitSection("Contiguous", false), text), ElementsAre("a", "--", "b", "-"));
  EXPECT_THAT(Split(SplitSection("Removed", true), text), ElementsAre("-", "-", "-"));
}

TEST(PretokenizerTest, DigitsAloneOrTogether) {
  EXPECT_THAT(Split(R"({"type":"Digits","individual_digits":true})", "a12b½"),
              ElementsAre("a", "1", "2", "b", "½"));
  EXPECT_THAT(Split(R"({"type":"Digits","individual_digits":false})", "a12b"),
              ElementsAre("a", "12", "b"));
  EXPECT_THAT(Split(R"({"type":"Digits"})", "12"), ElementsAre("12"));
}

TEST(PretokenizerTest, ByteLevelOptions) {
  EXPECT_THAT(Split(R"({"type":"ByteLevel","add_prefix_space":false})", "a  b's"),
              ElementsAre("a", " ", " b", "'s"));
  EXPECT_THAT(Split(R"({"type":"ByteLevel","add_prefix_space":true,"use_regex":false})", "a b"),
              ElementsAre(" a b"));
  EXPECT_THAT(Split(R"({"type":"ByteLevel","add_prefix_space":true})", " a"), ElementsAre(" a"));
  EXPECT_THAT(Split(R"({"type":"ByteLevel","add_prefix_space":true})", ""), IsEmpty());
}

TEST(PretokenizerTest, SequencesApplyEachStepToEachWord) {
  const std::string section = R"({"type":"Sequence","pretokenizers":[
      {"type":"Digits","individual_digits":true},
      {"type":"ByteLevel","add_prefix_space":true,"use_regex":true}]})";
  EXPECT_THAT(Split(section, "ab 1c"), ElementsAre(" ab", " ", " 1", " c"));
  EXPECT_THAT(Split("null", "as it is"), ElementsAre("as it is"));
}

TEST(PretokenizerTest, ByteLevelIsNoticed) {
  EXPECT_FALSE(Pretokenizer::FromJson("test", nullptr)->byte_level());
  EXPECT_FALSE(Pretokenizer::FromJson("test", json::parse(R"({"type":"Digits"})"))->byte_level());
  EXPECT_TRUE(Pretokenizer::FromJson("test", json::parse(R"({"type":"ByteLevel"})"))->byte_level());
}

struct Broken {
  std::string section;
  std::string message;
  absl::StatusCode code = absl::StatusCode::kInvalidArgument;
};

TEST(PretokenizerTest, BrokenSectionsAreNamed) {
  std::string deep = R"({"type":"Sequence","pretokenizers":[)";
  for (int i = 0; i < 40; ++i) absl::StrAppend(&deep, R"({"type":"Digits"},)");
  deep += R"({"type":"Digits"}]})";
  const Broken cases[] = {
      {"7", "file: pre_tokenizer is 7"},
      {R"({"type":"Whitespace"})", "\"Whitespace\"", absl::StatusCode::kUnimplemented},
      {R"({"kind":"Digits"})", "type is missing"},
      {R"({"type":"Digits","individual_digits":3})", "individual_digits is 3"},
      {R"({"type":"Split","behavior":"Isolated"})", "pattern is missing"},
      {R"({"type":"Split","pattern":{"Regex":"("},"behavior":"Isolated"})", "pattern: near byte 1"},
      {R"({"type":"Split","pattern":{"Regex":"a"},"behavior":"Nearby"})", "behavior is \"Nearby\""},
      {R"({"type":"Split","pattern":{"Regex":5},"behavior":"Isolated"})", "Regex is 5"},
      {R"({"type":"Sequence","pretokenizers":{}})", "pretokenizers is {}"},
      {R"({"type":"Sequence","pretokenizers":[{"type":"Digits"},[]]})", "pretokenizers[1] is []"},
      {deep, "more than 32 steps"},
  };
  for (const Broken& broken : cases) {
    const auto made = Pretokenizer::FromJson("file: pre_tokenizer", json::parse(broken.section));
    EXPECT_EQ(made.status().code(), broken.code) << broken.section;
    EXPECT_THAT(std::string(made.status().message()), HasSubstr(broken.message));
    EXPECT_THAT(std::string(made.status().message()), HasSubstr("file: pre_tokenizer"));
  }
}

}  // namespace
}  // namespace transmla
