#include "engine/tokenizer/special_tokens.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace transmla {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

AddedToken Token(TokenId id, const std::string& text, bool special = true) {
  AddedToken token;
  token.id = id;
  token.text = text;
  token.special = special;
  return token;
}

// Parts as "text" or "id:text".
std::vector<std::string> Split(const std::vector<AddedToken>& tokens, const std::string& text,
                               bool parse_special = true) {
  std::vector<SpecialTokens::Part> parts;
  SpecialTokens(tokens).Split(text, parse_special, parts);
  std::vector<std::string> out;
  for (const SpecialTokens::Part& part : parts) {
    out.push_back(part.id.has_value() ? absl::StrCat(*part.id, ":", part.text)
                                      : std::string(part.text));
  }
  return out;
}

TEST(SpecialTokensTest, LeftmostThenLongest) {
  const std::vector<AddedToken> tokens = {Token(1, "<a>"), Token(2, "<a><b>"), Token(3, "<b>"),
                                          Token(4, "><")};
  EXPECT_THAT(Split(tokens, "x<a>y"), ElementsAre("x", "1:<a>", "y"));
  EXPECT_THAT(Split(tokens, "<a><b>"), ElementsAre("2:<a><b>"));
  EXPECT_THAT(Split(tokens, "<a><c"), ElementsAre("1:<a>", "<c"));
  EXPECT_THAT(Split(tokens, "<a"), ElementsAre("<a"));
  EXPECT_THAT(Split(tokens, ""), IsEmpty());
  EXPECT_THAT(Split({}, "<a>"), ElementsAre("<a>"));
  EXPECT_THAT(Split({Token(1, "")}, "<a>"), ElementsAre("<a>"));
}

TEST(SpecialTokensTest, WithoutParsingOnlyPlainTokensAreFound) {
  const std::vector<AddedToken> tokens = {Token(1, "<|s|>"), Token(2, "<t>", false),
                                          Token(3, "s|>", false)};
  EXPECT_THAT(Split(tokens, "a<|s|>b<t>c", false), ElementsAre("a<|s|>b", "2:<t>", "c"));
  // What the special token's text covers is not searched again.
  EXPECT_THAT(Split(tokens, "<|s|>", false), ElementsAre("<|s|>"));
  EXPECT_THAT(Split(tokens, "xs|>", false), ElementsAre("x", "3:s|>"));
}

TEST(SpecialTokensTest, StripsTakeWhiteSpaceWithThem) {
  AddedToken left = Token(1, "<l>");
  left.lstrip = true;
  AddedToken right = Token(2, "<r>");
  right.rstrip = true;
  EXPECT_THAT(Split({left, right}, "a \u3000\t<l> b"), ElementsAre("a", "1: \u3000\t<l>", " b"));
  EXPECT_THAT(Split({left, right}, "a <r>\n b"), ElementsAre("a ", "2:<r>\n ", "b"));
  // The first takes the space between them.
  EXPECT_THAT(Split({left, right}, "<r>  <l>"), ElementsAre("2:<r>  ", "1:<l>"));
}

TEST(SpecialTokensTest, SingleWordsDoNotTouchWords) {
  AddedToken word = Token(1, "is");
  word.single_word = true;
  EXPECT_THAT(Split({word}, "this is é(is)isé"),
              ElementsAre("this ", "1:is", " é(", "1:is", ")isé"));
}

}  // namespace
}  // namespace transmla
