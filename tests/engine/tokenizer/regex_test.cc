#include "engine/tokenizer/regex.h"

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace transmla {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> Find(const std::string& pattern, const std::string& text) {
  const auto regex = Regex::Compile("test", pattern);
  EXPECT_TRUE(regex.ok()) << regex.status();
  std::vector<Regex::Match> matches;
  const absl::Status status = regex->FindAll(text, matches);
  EXPECT_TRUE(status.ok()) << status;
  std::vector<std::string> found;
  for (const Regex::Match& match : matches) {
    found.push_back(text.substr(match.begin, match.end - match.begin));
  }
  return found;
}

TEST(RegexTest, FindsFromLeftToRight) {
  EXPECT_THAT(Find(R"(\p{L}+|\p{N})", "été 12"), ElementsAre("été", "1", "2"));
  EXPECT_THAT(Find("b*", "abé"), ElementsAre("", "b", "", ""));
  EXPECT_THAT(Find("x", ""), ElementsAre());
}

TEST(RegexTest, SpaceIsUnicodesWhiteSpace) {
  // U+180E has not been white space since Unicode 6.3.
  const std::string text = "a\u0085\u3000\u180E\tb";
  EXPECT_THAT(Find(R"(\s+)", text), ElementsAre("\u0085\u3000", "\t"));
  EXPECT_THAT(Find(R"([^\sab]+)", text), ElementsAre("\u180E"));
  EXPECT_THAT(Find(R"(\S+)", text), ElementsAre("a", "\u180E", "b"));
}

TEST(RegexTest, EscapesAreText) {
  const std::string text = R"(\^$.|?*+()[]{}-#&~ a)";
  EXPECT_THAT(Find(EscapeForRegex(text), "x" + text + "y"), ElementsAre(text));
}

TEST(RegexTest, BrokenAndUnsupportedExpressionsSayWhere) {
  for (const char* pattern : {"(", "[a", R"(\p{Nonsense})", R"([\w&&[^a]])", "[a[b]]", R"(\C)"}) {
    const auto regex = Regex::Compile("file: field", pattern);
    EXPECT_EQ(regex.status().code(), absl::StatusCode::kInvalidArgument) << pattern;
    EXPECT_THAT(std::string(regex.status().message()), HasSubstr("file: field")) << pattern;
  }
  EXPECT_FALSE(Regex::Compile("test", std::string(1 << 17, 'a')).ok());
  EXPECT_TRUE(Regex::Compile("test", "[[:alpha:]][]]").ok());
}

TEST(RegexTest, BacktrackingIsLimited) {
  const auto regex = Regex::Compile("test", "(a+)+$");
  ASSERT_TRUE(regex.ok());
  std::vector<Regex::Match> matches;
  const absl::Status status = regex->FindAll(std::string(64, 'a') + "b", matches);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
}

TEST(RegexTest, LongMatchesDoNotExhaustTheStack) {
  EXPECT_THAT(Find("(?:a|b)+", std::string(200000, 'a')), ElementsAre(std::string(200000, 'a')));
}

}  // namespace
}  // namespace transmla
