#include "engine/grammar/grammar_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/engine/grammar/matching.h"

namespace transmla::grammar {
namespace {

using ::testing::HasSubstr;

TEST(GrammarTextTest, ReadsRulesInAnyOrderAndOverLines) {
  const auto grammar = ParseGrammarText(R"(# who greets whom
root ::= greeting ", " name ("!" | "?"
  | ".")   # inside parentheses a line may end
greeting ::= "Hello" |
  "Good " ("day" | "evening")
  | "Gr\u00fc\xdf Gott"
name ::= [A-Z] [a-z]{1,20} [^\]a-z]?
)");
  ASSERT_TRUE(grammar.ok()) << grammar.status();
  EXPECT_TRUE(Matches(grammar, "Hello, Ada!"));
  EXPECT_TRUE(Matches(grammar, "Good evening, Bob7?"));
  EXPECT_TRUE(Matches(grammar, "Gr\xC3\xBC\xC3\x9F Gott, Cy."));
  EXPECT_FALSE(Matches(grammar, "Hello, ada!"));
  EXPECT_FALSE(Matches(grammar, "Good, Ada!"));
  EXPECT_FALSE(Matches(grammar, "Hello, Ada]!"));
}

TEST(GrammarTextTest, ReadsRecursionAndCounts) {
  const auto grammar = ParseGrammarText(
      "root ::= expr\nexpr ::= term ([-+*/] term)*\nterm ::= [0-9]+ | \"(\" expr \")\"\n");
  EXPECT_TRUE(Matches(grammar, "1+(2*(3-40))/5"));
  EXPECT_FALSE(Matches(grammar, "1+(2*(3-40)/5"));
  const auto counts = ParseGrammarText("root ::= \"ab\"{2} .{0,1} \"c\"{2,}");
  EXPECT_TRUE(Matches(counts, "ababxcc"));
  EXPECT_TRUE(Matches(counts, "ababccc"));
  EXPECT_FALSE(Matches(counts, "abcc"));
}

TEST(GrammarTextTest, NamesMistakes) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "no rule \"root\""},
      {"main ::= \"a\"", "no rule \"root\""},
      {"root = \"a\"", "lacks its ::="},
      {"root ::= \"a", "it ends too early"},
      {"root ::= \"a\nb\"", "closing quote"},
      {"root ::= (\"a\"", "lacks its )"},
      {"root ::= \"a\")", "has no ("},
      {"root ::= \"\\q\"", "unknown escape"},
      {"root ::= \"a\"\nroot ::= \"b\"", "defined twice"},
      {"root ::= %", "is expected"},
      {"root ::= \"a\"**", "needs a group"},
  };
  for (const auto& [text, problem] : cases) {
    const absl::Status status = ParseGrammarText(text).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << text;
    EXPECT_THAT(status.message(), HasSubstr(problem)) << text;
  }
  const auto lost = ParseGrammarText("root ::= \"a\" other");
  ASSERT_TRUE(lost.ok());
  EXPECT_THAT(BuildNetwork(*lost).status().message(), HasSubstr("rule other is not defined"));
}

}  // namespace
}  // namespace transmla::grammar
