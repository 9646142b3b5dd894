#include "engine/tokenizer/byte_bpe.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "engine/base/random.h"
#include "engine/tokenizer/bpe_definition.h"
#include "engine/tokenizer/byte_alphabet.h"
#include "engine/tokenizer/vocabulary.h"

namespace transmla {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

struct Made {
  Vocabulary vocabulary;
  ByteBpe bpe;
};

Made Make(const BpeDefinition& definition) {
  auto vocabulary = Vocabulary::Create("test", definition.tokens);
  EXPECT_TRUE(vocabulary.ok()) << vocabulary.status();
  auto bpe = ByteBpe::Create(definition, *vocabulary);
  EXPECT_TRUE(bpe.ok()) << bpe.status();
  return {*std::move(vocabulary), *std::move(bpe)};
}

std::vector<std::string> Encode(const Made& made, const std::string& word) {
  ByteBpe::Scratch scratch;
  std::vector<TokenId> ids;
  made.bpe.Encode(word, scratch, ids);
  std::vector<std::string> texts;
  for (const TokenId id : ids) texts.emplace_back(made.vocabulary.Text(id));
  return texts;
}

TEST(ByteBpeTest, LowestRankFirstThenLeftmost) {
  BpeDefinition definition;
  definition.tokens = {"a", "b", "c", "aa", "bc", "ab", "abc"};
  definition.merges = {{"b", "c"}, {"a", "b"}, {"a", "a"}, {"a", "bc"}};
  const Made made = Make(definition);
  EXPECT_THAT(Encode(made, "abc"), ElementsAre("abc"));
  EXPECT_THAT(Encode(made, "aaa"), ElementsAre("aa", "a"));
  EXPECT_THAT(Encode(made, "abab"), ElementsAre("ab", "ab"));
  EXPECT_THAT(Encode(made, ""), IsEmpty());
}

TEST(ByteBpeTest, BytesWithoutTokenAreLeftOutOrUnknown) {
  BpeDefinition definition;
  definition.tokens = {"a", "b", "ab", "?"};
  definition.merges = {{"a", "b"}};
  // What is left becomes neighbours, as in Hugging Face's tokenizers.
  EXPECT_THAT(Encode(Make(definition), "axb"), ElementsAre("ab"));
  definition.unk = 3;
  EXPECT_THAT(Encode(Make(definition), "axyb"), ElementsAre("a", "?", "?", "b"));
  definition.fuse_unk = true;
  EXPECT_THAT(Encode(Make(definition), "axybz"), ElementsAre("a", "?", "b", "?"));
}

TEST(ByteBpeTest, IgnoreMergesTakesWholeWords) {
  BpeDefinition definition;
  definition.tokens = {"a", "b", "Ġ", "Ġab"};
  definition.ignore_merges = true;
  EXPECT_THAT(Encode(Make(definition), " ab"), ElementsAre("Ġab"));
  EXPECT_THAT(Encode(Make(definition), "ab"), ElementsAre("a", "b"));
  definition.ignore_merges = false;
  EXPECT_THAT(Encode(Make(definition), " ab"), ElementsAre("Ġ", "a", "b"));
}

TEST(ByteBpeTest, NoTextBecomesASpecialToken) {
  BpeDefinition definition;
  definition.tokens = {"<", ">", "<>"};
  definition.merges = {{"<", ">"}};
  definition.ignore_merges = true;
  AddedToken token;
  token.id = 2;
  token.text = "<>";
  definition.added = {token};
  EXPECT_THAT(Encode(Make(definition), "<>"), ElementsAre("<>"));
  definition.added[0].special = true;
  EXPECT_THAT(Encode(Make(definition), "<>"), ElementsAre("<", ">"));
}

TEST(ByteBpeTest, MergesOfUnknownTokensAreNamed) {
  BpeDefinition definition;
  definition.path = "model.gguf";
  definition.merges_field = "merges";
  definition.tokens = {"a", "b", "ab"};
  for (const std::pair<std::string, std::string> merge :
       {std::pair("a", "z"), std::pair("z", "a"), std::pair("b", "a"), std::pair("", "a")}) {
    definition.merges = {{"a", "b"}, merge};
    const auto vocabulary = Vocabulary::Create("test", definition.tokens);
    const auto bpe = ByteBpe::Create(definition, *vocabulary);
    EXPECT_EQ(bpe.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(bpe.status().message()), HasSubstr("model.gguf: merges[1]"));
  }
}

// The definition, without queues: again and again the best pair of the whole word.
std::vector<std::string> Reference(const std::vector<std::pair<std::string, std::string>>& merges,
                                   const std::string& word) {
  std::map<std::pair<std::string, std::string>, size_t> rank;
  for (size_t i = 0; i < merges.size(); ++i) rank[merges[i]] = i;
  std::vector<std::string> parts;
  for (const char c : word) parts.emplace_back(1, c);
  while (true) {
    std::optional<std::pair<size_t, size_t>> best;  // rank, place
    for (size_t i = 0; i + 1 < parts.size(); ++i) {
      const auto found = rank.find({parts[i], parts[i + 1]});
      if (found == rank.end()) continue;
      const std::pair candidate(found->second, i);
      if (!best.has_value() || candidate < *best) best = candidate;
    }
    if (!best.has_value()) return parts;
    parts[best->second] += parts[best->second + 1];
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(best->second) + 1);
  }
}

TEST(ByteBpeTest, RandomVocabulariesAgreeWithTheDefinition) {
  constexpr uint64_t kSeed = 20240229;
  SCOPED_TRACE(kSeed);
  Random random(kSeed);
  const auto draw = [&](size_t below) { return static_cast<size_t>(random.Below(below)); };
  for (int round = 0; round < 60; ++round) {
    BpeDefinition definition;
    definition.tokens = {"a", "b", "c"};
    for (int i = 0; i < 12; ++i) {
      const std::string left = definition.tokens[draw(definition.tokens.size())];
      const std::string right = definition.tokens[draw(definition.tokens.size())];
      const auto& tokens = definition.tokens;
      const bool is_new = std::find(tokens.begin(), tokens.end(), left + right) == tokens.end();
      const std::pair merge(left, right);
      if (std::find(definition.merges.begin(), definition.merges.end(), merge) !=
          definition.merges.end()) {
        continue;
      }
      definition.merges.push_back(merge);
      if (is_new) definition.tokens.push_back(left + right);
    }
    const Made made = Make(definition);
    for (int i = 0; i < 40; ++i) {
      std::string word;
      for (size_t n = draw(40); n > 0; --n) word += static_cast<char>('a' + draw(3));
      ASSERT_EQ(Encode(made, word), Reference(definition.merges, word)) << word;
    }
  }
}

}  // namespace
}  // namespace transmla
