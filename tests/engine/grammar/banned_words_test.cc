#include "engine/grammar/banned_words.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/base/random.h"

namespace transmla {
namespace {

using ::testing::HasSubstr;

const std::vector<std::string>& Vocabulary() {
  static const auto* const tokens = new std::vector<std::string>{
      "a", "b", "c", "ab", "bc", "abc", "ca", "aab", "", "xabcx", "cab"};
  return *tokens;
}

std::shared_ptr<BannedWords> Ban(const std::vector<std::string>& words) {
  auto banned = BannedWords::Compile(words, std::make_shared<const TokenTrie>(Vocabulary()));
  EXPECT_TRUE(banned.ok()) << banned.status();
  return *banned;
}

bool HasAny(const std::string& text, const std::vector<std::string>& words) {
  for (const std::string& word : words) {
    if (text.find(word) != std::string::npos) return true;
  }
  return false;
}

TEST(BannedWordsTest, ForbidsExactlyTheTokensThatCompleteAWord) {
  const std::vector<std::vector<std::string>> sets = {
      {"abc"}, {"abc", "ca"}, {"aabab", "bb", "xa"}, {"a"}, {"abcabd", "bca", "cc"}, {"ab", "abc"}};
  Random random(5);
  for (const std::vector<std::string>& words : sets) {
    const auto banned = Ban(words);
    for (int round = 0; round < 50; ++round) {
      std::string text;
      BannedWords::State state = BannedWords::kStart;
      for (int step = 0; step < 30; ++step) {
        const TokenMask& allowed = banned->Allowed(state);
        std::vector<size_t> possible;
        for (size_t t = 0; t < Vocabulary().size(); ++t) {
          const std::string& token = Vocabulary()[t];
          const bool good = !token.empty() && !HasAny(text + token, words);
          ASSERT_EQ(allowed.Has(static_cast<int32_t>(t)), good) << text << " + " << token;
          if (good) possible.push_back(t);
        }
        if (possible.empty()) break;
        const std::string& token = Vocabulary()[possible[random.Below(possible.size())]];
        state = banned->After(state, token);
        text += token;
      }
    }
  }
}

TEST(BannedWordsTest, NamesItsLimits) {
  const auto trie = std::make_shared<const TokenTrie>(Vocabulary());
  const auto error = [&](const std::vector<std::string>& words) {
    return std::string(BannedWords::Compile(words, trie).status().message());
  };
  EXPECT_THAT(error({"a", ""}), HasSubstr("empty word"));
  EXPECT_THAT(error(std::vector<std::string>(257, "a")), HasSubstr("at most 256"));
  EXPECT_THAT(error({std::string(4097, 'a')}), HasSubstr("at most 4096"));
}

}  // namespace
}  // namespace transmla
