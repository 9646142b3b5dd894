#include "engine/tokenizer/stream_decoder.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include <nlohmann/json.hpp>

#include "engine/base/random.h"
#include "engine/base/utf8.h"
#include "engine/tokenizer/bpe_tokenizer.h"
#include "engine/tokenizer/tokenizer_json.h"
#include "tests/engine/tokenizer/fixtures.h"

namespace transmla {
namespace {

// 256 bytes, some whole characters, control tokens: every way to cut a character into tokens.
std::shared_ptr<const Tokenizer> TinyTokenizer() {
  const auto json = nlohmann::json::parse(testing::ReadFixture("tiny.tokenizer.json"));
  auto definition = BpeFromJson("tiny.tokenizer.json", json);
  EXPECT_TRUE(definition.ok()) << definition.status();
  auto made = BpeTokenizer::Create(*std::move(definition));
  EXPECT_TRUE(made.ok()) << made.status();
  return *made;
}

std::string Stream(const std::shared_ptr<const Tokenizer>& tokenizer,
                   const std::vector<TokenId>& ids, bool skip_control) {
  StreamDecoder decoder(tokenizer, skip_control);
  std::string out;
  for (const TokenId id : ids) {
    const std::string text = decoder.Push(id);
    // Never a part of a character.
    EXPECT_EQ(ReplaceInvalidUtf8(text), text);
    out += text;
  }
  return out + decoder.Flush();
}

TEST(StreamDecoderTest, CharactersWaitForTheirLastByte) {
  const auto tokenizer = TinyTokenizer();
  const auto ids = tokenizer->Encode("漢🙂", {.add_bos = false});
  ASSERT_TRUE(ids.ok());
  ASSERT_GT(ids->size(), 2u);
  StreamDecoder decoder(tokenizer);
  EXPECT_EQ(decoder.Push((*ids)[0]), "");
  EXPECT_EQ(decoder.Flush(), "\uFFFD");
  EXPECT_EQ(decoder.Flush(), "");
}

TEST(StreamDecoderTest, TextsOfTheFixturesComeBack) {
  const auto tokenizer = TinyTokenizer();
  for (const auto& row : testing::FixtureRows("tiny.jsonl")) {
    const auto ids = row[1].get<std::vector<TokenId>>();
    EXPECT_EQ(Stream(tokenizer, ids, false), tokenizer->Decode(ids, false)) << row[0];
  }
}

TEST(StreamDecoderTest, RandomIdsStreamAsTheyDecode) {
  constexpr uint64_t kSeed = 20240301;
  SCOPED_TRACE(kSeed);
  Random random(kSeed);
  const auto tokenizer = TinyTokenizer();
  // Ids of emoji, CJK and marks, so that random cuts hit real characters.
  const auto pieces =
      tokenizer->Encode("🙂👩‍🔬漢字é\u0301한글𒀀 a", {.add_bos = false});
  ASSERT_TRUE(pieces.ok());
  for (int round = 0; round < 4000; ++round) {
    std::vector<TokenId> ids;
    const auto length = 1 + random.Below(24);
    size_t place = random.Below(pieces->size());
    for (uint64_t i = 0; i < length; ++i) {
      const bool anything = random.Below(4) == 0;
      // Two beyond the vocabulary, and -1: ids that stand for nothing.
      ids.push_back(anything ? static_cast<TokenId>(random.Below(403)) - 1
                             : (*pieces)[place++ % pieces->size()]);
    }
    for (const bool skip_control : {false, true}) {
      ASSERT_EQ(Stream(tokenizer, ids, skip_control), tokenizer->Decode(ids, skip_control))
          << round;
    }
  }
}

}  // namespace
}  // namespace transmla
