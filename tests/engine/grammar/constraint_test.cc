#include "engine/grammar/constraint.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "engine/base/random.h"

namespace transmla {
namespace {

using ::testing::HasSubstr;

std::vector<std::string> Vocabulary() {
  std::vector<std::string> tokens = {
      "",   "{\"", "\":",  ", \"", "}",        "true",     "tru",      "e",  "name", "12",
      "  ", "\n",  "\xC3", "\xA4", "\xC3\xA4", "\xF0\x9F", "\x98\x80", "]]", "[[",   "true"};
  for (int byte = 0; byte < 256; ++byte) tokens.push_back(std::string(1, static_cast<char>(byte)));
  return tokens;
}

std::shared_ptr<Constraint> Compile(ConstraintSpec spec) {
  static const auto* const trie =
      new std::shared_ptr<const TokenTrie>(std::make_shared<const TokenTrie>(Vocabulary()));
  absl::StatusOr<std::shared_ptr<Constraint>> constraint = Constraint::Compile(spec, *trie);
  EXPECT_TRUE(constraint.ok()) << constraint.status();
  return *constraint;
}

// A matcher's mask is what its own Accept says of each token, and random texts end as they should.
std::string RandomText(const std::shared_ptr<Constraint>& constraint, Random& random, bool check) {
  const std::vector<std::string> tokens = Vocabulary();
  ConstraintMatcher matcher(constraint);
  std::string text;
  for (int step = 0; step < 400 && !matcher.MustEnd(); ++step) {
    const TokenMask allowed = matcher.Allowed();
    std::vector<int> possible;
    for (size_t t = 0; t < tokens.size(); ++t) {
      if (allowed.Has(static_cast<int32_t>(t))) possible.push_back(static_cast<int>(t));
      if (!check) continue;
      ConstraintMatcher probe(constraint);
      probe.Accept(text);
      probe.Accept(tokens[t]);
      const bool good = !tokens[t].empty() && (probe.MayEnd() || !probe.MustEnd());
      EXPECT_EQ(allowed.Has(static_cast<int32_t>(t)), good) << text << " | " << tokens[t];
    }
    if (possible.empty()) {
      ADD_FAILURE() << "stuck after " << text;
      break;
    }
    const std::string& token = tokens[possible[random.Below(possible.size())]];
    matcher.Accept(token);
    text += token;
  }
  if (!matcher.MayEnd()) return "";
  return text;
}

TEST(ConstraintTest, MasksAreWhatTheGrammarAllows) {
  Random random(3);
  const auto constraint =
      Compile({.kind = ConstraintSpec::Kind::kJsonSchema,
               .text = R"({"type":"object","properties":{"name":{"type":"string","maxLength":9},
                           "n":{"type":"integer"}},"required":["name"]})"});
  for (int i = 0; i < 3; ++i) RandomText(constraint, random, /*check=*/true);
}

TEST(ConstraintTest, RandomTextsAreDocuments) {
  Random random(4);
  const auto constraint =
      Compile({.kind = ConstraintSpec::Kind::kJsonSchema,
               .text = R"({"type":"object","properties":{"name":{"type":"string","maxLength":5},
                           "list":{"type":"array","items":{"enum":["\u00e4",true,12]},"maxItems":4}},
                           "required":["name","list"]})"});
  int whole = 0;
  for (int i = 0; i < 200; ++i) {
    const std::string text = RandomText(constraint, random, false);
    if (text.empty()) continue;
    const auto document = nlohmann::json::parse(text, nullptr, false);
    ASSERT_FALSE(document.is_discarded()) << text;
    EXPECT_LE(document.at("list").size(), 4u);
    ++whole;
  }
  EXPECT_GT(whole, 150);
}

TEST(ConstraintTest, EndsAreSeen) {
  const auto constraint = Compile(
      {.kind = ConstraintSpec::Kind::kChoice, .text = "", .choices = {"tru", "true", "name"}});
  ConstraintMatcher matcher(constraint);
  EXPECT_FALSE(matcher.MayEnd());
  matcher.Accept("tru");
  EXPECT_TRUE(matcher.MayEnd());
  EXPECT_FALSE(matcher.MustEnd());
  matcher.Accept("e");
  EXPECT_TRUE(matcher.MayEnd());
  EXPECT_TRUE(matcher.MustEnd());
  matcher.Accept("x");
  EXPECT_FALSE(matcher.MayEnd());
  EXPECT_TRUE(matcher.MustEnd());
  EXPECT_FALSE(matcher.Allowed().Has(1));
}

TEST(ConstraintTest, GrowsPastAFullAutomaton) {
  // Each depth is a state of its own.
  const auto constraint = Compile({.kind = ConstraintSpec::Kind::kGrammar,
                                   .text = "root ::= \"[\" root \"]\" | \"12\"",
                                   .choices = {}});
  constexpr int kDepth = 20'000;
  for (int round = 0; round < 2; ++round) {
    ConstraintMatcher matcher(constraint);
    for (int i = 0; i < kDepth / 2; ++i) {
      matcher.Accept("[[");
      if (i % 1000 == 0) {
        EXPECT_TRUE(matcher.Allowed().Has(18));  // [[
        EXPECT_FALSE(matcher.Allowed().Has(17));
      }
    }
    matcher.Accept("12");
    for (int i = 0; i < kDepth / 2; ++i) {
      EXPECT_FALSE(matcher.MayEnd());
      matcher.Accept("]]");
    }
    EXPECT_TRUE(matcher.MayEnd());
    EXPECT_TRUE(matcher.MustEnd());
  }
}

TEST(ConstraintTest, RefusesWhatTakesTooLong) {
  // Every byte leads to thousands of ways, through hundreds of states.
  std::string pattern = "(";
  for (int c = 'a'; c <= 'z'; ++c) pattern += std::string(1, static_cast<char>(c)) + "?.?";
  pattern += "){0,150}";
  const auto trie = std::make_shared<const TokenTrie>([] {
    std::vector<std::string> tokens;
    for (int a = 'a'; a <= 'z'; ++a) {
      for (int b = 'a'; b <= 'z'; ++b) {
        tokens.push_back({static_cast<char>(a), static_cast<char>(b)});
      }
    }
    return tokens;
  }());
  const absl::Status status =
      Constraint::Compile({.kind = ConstraintSpec::Kind::kRegex, .text = pattern}, trie).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_THAT(status.message(), HasSubstr("too ambiguous"));
}

TEST(ConstraintTest, RefusesWhatCannotBeMet) {
  const auto trie = std::make_shared<const TokenTrie>(Vocabulary());
  const auto status = [&](ConstraintSpec spec) { return Constraint::Compile(spec, trie).status(); };
  using Kind = ConstraintSpec::Kind;
  EXPECT_THAT(status({.kind = Kind::kRegex, .text = "[^\\s\\S]"}).message(),
              HasSubstr("no text at all"));
  EXPECT_THAT(status({.kind = Kind::kJsonSchema, .text = "false"}).message(),
              HasSubstr("no text at all"));
  EXPECT_THAT(status({.kind = Kind::kChoice, .text = "", .choices = {}}).message(),
              HasSubstr("0 choices"));
  EXPECT_THAT(status({.kind = Kind::kChoice, .text = "", .choices = {""}}).message(),
              HasSubstr("empty choice"));
  EXPECT_THAT(
      status({.kind = Kind::kRegex, .text = std::string(kMaxConstraintBytes + 1, 'a')}).message(),
      HasSubstr("at most 262144"));
}

}  // namespace
}  // namespace transmla
