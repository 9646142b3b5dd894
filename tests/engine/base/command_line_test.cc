#include "engine/base/command_line.h"

#include <optional>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/reflection.h"
#include "absl/strings/match.h"
#include "absl/time/time.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

ABSL_FLAG(int, test_number, 7, "How many.");
ABSL_FLAG(bool, test_switch, false, "On or off.");
ABSL_FLAG(std::string, test_text, "", "Words.");
ABSL_FLAG(std::optional<float>, test_share, std::nullopt, "Absent unless given.");

namespace transmla {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

absl::StatusOr<std::vector<std::string>> Parse(std::vector<std::string> words) {
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  return ParseFlags(arguments);
}

TEST(CommandLineTest, SetsFlagsAndLeavesArguments) {
  const absl::FlagSaver saver;
  const auto left = Parse({"one", "--test-number", "3", "-", "--test_switch", "--test-text=--a-b=c",
                           "--test-share=0.5", "two"});
  ASSERT_TRUE(left.ok()) << left.status();
  EXPECT_THAT(*left, ElementsAre("one", "-", "two"));
  EXPECT_EQ(absl::GetFlag(FLAGS_test_number), 3);
  EXPECT_TRUE(absl::GetFlag(FLAGS_test_switch));
  EXPECT_EQ(absl::GetFlag(FLAGS_test_text), "--a-b=c");
  EXPECT_EQ(absl::GetFlag(FLAGS_test_share), 0.5f);
  ASSERT_TRUE(Parse({"--notest-switch"}).ok());
  EXPECT_FALSE(absl::GetFlag(FLAGS_test_switch));
}

TEST(CommandLineTest, ASwitchTakesNoWord) {
  const absl::FlagSaver saver;
  EXPECT_THAT(*Parse({"--test-switch", "false"}), ElementsAre("false"));
  EXPECT_TRUE(absl::GetFlag(FLAGS_test_switch));
  ASSERT_TRUE(Parse({"--test-switch=false"}).ok());
  EXPECT_FALSE(absl::GetFlag(FLAGS_test_switch));
}

TEST(CommandLineTest, NothingIsAFlagAfterTwoDashes) {
  EXPECT_THAT(*Parse({"--", "--test-number", "x"}), ElementsAre("--test-number", "x"));
}

TEST(CommandLineTest, MistakesNameTheFlag) {
  const absl::FlagSaver saver;
  const std::pair<std::vector<std::string>, const char*> mistakes[] = {
      {{"--missing"}, "no flag --missing"},
      {{"--missing=1"}, "no flag --missing"},
      {{"--notest-number"}, "no flag --notest-number"},
      {{"--notest-switch=true"}, "no flag --notest-switch"},
      {{"--test-number"}, "--test-number needs a value"},
      {{"--test-number=many"}, "--test-number cannot be \"many\""},
      {{"--test-switch=perhaps"}, "--test-switch cannot be \"perhaps\""},
      {{"--=3"}, "no flag --"},
  };
  for (const auto& [words, message] : mistakes) {
    const absl::Status status = Parse(words).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
  }
}

TEST(CommandLineTest, OnlyKnownFlagsAreThere) {
  const absl::FlagSaver saver;
  const auto parse = [](std::string word) {
    char* const arguments[] = {word.data()};
    return ParseFlags(arguments, [](absl::string_view name) { return name == "test-number"; });
  };
  EXPECT_TRUE(parse("--test_number=3").ok());
  EXPECT_TRUE(absl::IsInvalidArgument(parse("--test-text=x").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(parse("--notest-switch").status()));
}

TEST(CommandLineTest, DescribesTheFlagsOfAFile) {
  const std::string text = DescribeFlags("command_line_test.cc");
  EXPECT_THAT(text, HasSubstr("  --test-number (7)\n      How many.\n"));
  EXPECT_THAT(text, HasSubstr("  --test-text\n      Words.\n"));
  EXPECT_EQ(DescribeFlags("nothing.cc"), "");
}

}  // namespace
}  // namespace transmla
