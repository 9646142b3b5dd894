#include "engine/grammar/regex_syntax.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/engine/grammar/matching.h"

namespace transmla::grammar {
namespace {

using ::testing::HasSubstr;

struct Case {
  const char* pattern;
  std::vector<const char*> good;
  std::vector<const char*> bad;
};

TEST(RegexSyntaxTest, AllowsWhatMatchesAsAWhole) {
  const Case cases[] = {
      {"abc", {"abc"}, {"", "ab", "abcd", "xabc"}},
      {"a|bc|", {"a", "bc", ""}, {"b", "abc"}},
      {"(ab)*c+", {"c", "ababcc"}, {"ab", "aabc"}},
      {"a{2}b{1,}c{0,2}", {"aab", "aabbbcc"}, {"ab", "aabccc"}},
      {"a+?b??", {"a", "aab"}, {"b"}},
      {"[a-c^-]+", {"abc", "^-"}, {"d"}},
      {"[^a-c]", {"d", "\xE2\x82\xAC"}, {"a", "dd"}},
      {"[\\d\\s_-]+", {"1 _-", "\xC2\xA0"}, {"a"}},
      {"\\w\\W\\d\\D\\s\\S", {"a-1x y"}, {"--1x y"}},
      {"\\u00e4\\x41\\u{1F600}\\n\\.\\/",
       {"\xC3\xA4"
        "A\xF0\x9F\x98\x80\n./"},
       {"a"}},
      {".", {"x", "\xF0\x9F\x98\x80"}, {"\n", "xx", "\xF0\x9F"}},
      {"^(?:yes|no)$", {"yes", "no"}, {"maybe"}},
      {"^a$|^b", {"a", "b"}, {"ab"}},
      {"\xC3\xA4+", {"\xC3\xA4\xC3\xA4"}, {"\xC3\xA4\xA4"}},
  };
  for (const Case& c : cases) {
    const absl::StatusOr<Grammar> grammar = RegexGrammar(c.pattern);
    ASSERT_TRUE(grammar.ok()) << c.pattern << ": " << grammar.status();
    for (const char* text : c.good) EXPECT_TRUE(Matches(grammar, text)) << c.pattern << " " << text;
    for (const char* text : c.bad) EXPECT_FALSE(Matches(grammar, text)) << c.pattern << " " << text;
  }
}

TEST(RegexSyntaxTest, NamesThePlaceOfAMistake) {
  const std::pair<const char*, const char*> cases[] = {
      {"a(b", "at byte 3: a ( lacks its )"},
      {"ab)", "at byte 2: a ) has no ("},
      {"*a", "at byte 0: a repetition has nothing to repeat"},
      {"a**", "needs a group"},
      {"a{3,2}", "most is below its least"},
      {"a{99999}", "above 10000"},
      {"a{x}", "a count is missing"},
      {"[b-a]", "a range ends before it begins"},
      {"[a", "it ends too early"},
      {"(?=a)", "look-around"},
      {"\\bfoo", "escape \\b is not supported"},
      {"(a)\\1", "escape \\1 is not supported"},
      {"a^b", "^ and $"},
      {"(^a)", "^ and $"},
      {"\\ud800", "not a character"},
      {"\xC3", "it is not UTF-8"},
  };
  for (const auto& [pattern, problem] : cases) {
    const absl::Status status = RegexGrammar(pattern).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << pattern;
    EXPECT_THAT(status.message(), HasSubstr(problem)) << pattern;
  }
  EXPECT_THAT(RegexGrammar(std::string(1000, '(')).status().message(), HasSubstr("nested"));
}

}  // namespace
}  // namespace transmla::grammar
