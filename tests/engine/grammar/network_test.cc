#include "engine/grammar/network.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/engine/grammar/matching.h"

namespace transmla::grammar {
namespace {

using ::testing::HasSubstr;

Grammar Of(ExpressionPtr expression) {
  Grammar grammar;
  grammar.Add("root", std::move(expression));
  return grammar;
}

TEST(NetworkTest, SequencesChoicesAndRepetitions) {
  const Grammar grammar = Of(
      Sequence({Literal("a"), Choice({Literal("b"), Literal("cd")}), Repeat(Literal("e"), 1, 3)}));
  for (const char* good : {"abe", "acdee", "abeee"}) EXPECT_TRUE(Matches(grammar, good)) << good;
  for (const char* bad : {"", "ab", "abeeee", "acde ", "bbe"}) {
    EXPECT_FALSE(Matches(grammar, bad)) << bad;
  }
}

TEST(NetworkTest, LongRepetitionsCountExactly) {
  // Large enough to become a rule of its own.
  const Grammar grammar = Of(Repeat(Characters(CharSet::All()), 3, 500));
  EXPECT_FALSE(Matches(grammar, "ab"));
  EXPECT_TRUE(Matches(grammar,
                      "\xC3\xA4"
                      "b\xF0\x9F\x98\x80"));
  EXPECT_TRUE(Matches(grammar, std::string(500, 'x')));
  EXPECT_FALSE(Matches(grammar, std::string(501, 'x')));
}

TEST(NetworkTest, RepetitionsOfWhatMayBeEmptyEnd) {
  const ExpressionPtr stars =
      Repeat(Repeat(Literal("x"), 0, Expression::kUnbounded), 0, Expression::kUnbounded);
  const Grammar grammar = Of(Sequence({stars, Literal("y")}));
  EXPECT_TRUE(Matches(grammar, "y"));
  EXPECT_TRUE(Matches(grammar, "xxxy"));
  EXPECT_FALSE(Matches(grammar, "xxx"));
}

TEST(NetworkTest, RulesNestAsDeepAsTheTextDoes) {
  Grammar grammar;
  const int root = grammar.Add("root");
  grammar.rules[root].expression =
      Choice({Sequence({Literal("("), Rule(root), Literal(")")}), Literal("x")});
  EXPECT_TRUE(Matches(grammar, std::string(3000, '(') + "x" + std::string(3000, ')')));
  EXPECT_FALSE(Matches(grammar, std::string(3000, '(') + "x" + std::string(2999, ')')));
}

TEST(NetworkTest, RightRecursionNeedsNoStack) {
  Grammar grammar;
  const int root = grammar.Add("root");
  grammar.rules[root].expression = Optional(Sequence({Literal("x"), Rule(root)}));
  const auto automaton = AutomatonOf(grammar);
  ASSERT_NE(automaton, nullptr);
  const auto once = automaton->Next(automaton->start(), 'x');
  EXPECT_EQ(automaton->Next(once, 'x'), once);
}

TEST(NetworkTest, RefusesLeftRecursion) {
  Grammar grammar;
  const int root = grammar.Add("root");
  const int other = grammar.Add("other");
  const int empty = grammar.Add("empty", Optional(Literal("z")));
  grammar.rules[root].expression = Choice({Sequence({Rule(other), Literal("x")}), Literal("y")});
  grammar.rules[other].expression = Sequence({Rule(empty), Rule(root)});
  const absl::Status status = BuildNetwork(grammar).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(status.message(), HasSubstr("left-recursive"));
}

TEST(NetworkTest, LongChainsOfRules) {
  // That the first rule may be empty is known only once it is known of the last. If that took a
  // look at all rules for each, this would not end within the test's time.
  Grammar grammar;
  constexpr int kRules = 60'000;
  for (int i = 0; i < kRules; ++i) grammar.Add("rule", i + 1 < kRules ? Rule(i + 1) : Literal(""));
  EXPECT_TRUE(BuildNetwork(grammar).ok());
}

TEST(NetworkTest, RefusesWhatGetsTooLarge) {
  const ExpressionPtr many = Repeat(Repeat(Literal("abcdef"), 0, 10'000), 0, 10'000);
  const Grammar grammar = Of(Sequence(std::vector<ExpressionPtr>(20, many)));
  const absl::Status status = BuildNetwork(grammar).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(status.message(), HasSubstr("too large"));
}

TEST(NetworkTest, RefusesRulesThatAreNotDefined) {
  Grammar grammar;
  grammar.Add("root", Literal("a"));
  grammar.Add("lost");
  EXPECT_THAT(BuildNetwork(grammar).status().message(), HasSubstr("rule lost is not defined"));
}

}  // namespace
}  // namespace transmla::grammar
