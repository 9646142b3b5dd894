#include "engine/tokenizer/sentencepiece_tokenizer.h"

#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "engine/format/checkpoint.h"
#include "engine/tokenizer/load.h"
#include "engine/tokenizer/model_proto.h"
#include "tests/engine/tokenizer/checkpoints.h"
#include "tests/engine/tokenizer/fixtures.h"
#include "tests/testing/temp_folder.h"

namespace transmla {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using testing::GgufBuilder;
using testing::GgufFloats;
using testing::GgufInts;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::ReadFixture;
using testing::SentencePieceGguf;
using testing::TempFolder;

absl::StatusOr<LoadedTokenizer> Load(const std::string& path) {
  const auto checkpoint = OpenCheckpoint(path);
  if (!checkpoint.ok()) return checkpoint.status();
  return LoadTokenizer(**checkpoint);
}

std::vector<TokenId> Encode(const Tokenizer& tokenizer, const std::string& text,
                            const EncodeOptions& options) {
  const auto ids = tokenizer.Encode(text, options);
  EXPECT_TRUE(ids.ok()) << ids.status();
  return *ids;
}

constexpr EncodeOptions kPlain = {.add_bos = false, .parse_special = false};
constexpr EncodeOptions kSpecial = {.add_bos = false, .parse_special = true};

// Ids of SentencePieceGguf: <0xNN> is 3 + NN; ▁ a b ▁a ▁ab <t> are 259 to 264.
TEST(SentencePieceTokenizerTest, FromGguf) {
  const TempFolder folder;
  const auto loaded = Load(folder.Write("m.gguf", SentencePieceGguf().Build()));
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const Tokenizer& tokenizer = *loaded->tokenizer;
  EXPECT_THAT(Encode(tokenizer, "ab", {}), ElementsAre(1, 263));
  EXPECT_THAT(Encode(tokenizer, "a b", kPlain), ElementsAre(262, 259, 261));
  EXPECT_THAT(Encode(tokenizer, "a\n", kPlain), ElementsAre(262, 3 + '\n'));
  EXPECT_THAT(Encode(tokenizer, "<t>", kPlain), ElementsAre(259, 264));
  EXPECT_THAT(Encode(tokenizer, "ab</s>a", kSpecial), ElementsAre(263, 2, 262));
  EXPECT_THAT(Encode(tokenizer, "ab</s>a", kPlain), Not(Contains(2)));
  EXPECT_EQ(tokenizer.bos(), 1);
  EXPECT_THAT(tokenizer.eos(), ElementsAre(2));
  EXPECT_EQ(tokenizer.TokenBytes(263), " ab");
  EXPECT_EQ(tokenizer.TokenBytes(3 + 0xE6), "\xE6");
  EXPECT_EQ(tokenizer.TokenBytes(0), " \u2047 ");
  EXPECT_EQ(tokenizer.TokenBytes(1), "");
  EXPECT_EQ(tokenizer.TokenBytes(264), "<t>");
  EXPECT_EQ(tokenizer.TokenText(1), "<s>");
  EXPECT_TRUE(tokenizer.IsControl(2));
  EXPECT_FALSE(tokenizer.IsControl(0));
  EXPECT_EQ(tokenizer.Decode(Encode(tokenizer, "漢🙂 ", kPlain), true), " 漢🙂 ");
}

TEST(SentencePieceTokenizerTest, GgufOptions) {
  const TempFolder folder;
  GgufBuilder builder = SentencePieceGguf();
  builder.Entry("tokenizer.ggml.add_space_prefix", GgufType::kBool, testing::Bytes<uint8_t>(0))
      .Entry("tokenizer.ggml.add_bos_token", GgufType::kBool, testing::Bytes<uint8_t>(0));
  const auto loaded = Load(folder.Write("m.gguf", builder.Build()));
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_THAT(Encode(*loaded->tokenizer, "a b", {}), ElementsAre(260, 259, 261));
}

struct Broken {
  const char* name;
  std::function<void(GgufBuilder&)> change;
  const char* message;
};

TEST(SentencePieceTokenizerTest, BrokenGgufNamesFileFieldAndValue) {
  const auto entry = [](const char* key, std::string bytes) {
    return [key, bytes](GgufBuilder& b) { b.Drop(key).Entry(key, GgufType::kArray, bytes); };
  };
  std::vector<float> scores(265, 0.0f);
  scores[7] = std::numeric_limits<float>::quiet_NaN();
  std::vector<int32_t> types(265, 1);
  const Broken cases[] = {
      {"no scores", [](GgufBuilder& b) { b.Drop("tokenizer.ggml.scores"); },
       "tokenizer.ggml.scores"},
      {"too few", entry("tokenizer.ggml.scores", GgufFloats({0, 1})), "has 2 entries"},
      {"nan", entry("tokenizer.ggml.scores", GgufFloats(scores)), "tokenizer.ggml.scores[7]"},
      {"no unknown piece", entry("tokenizer.ggml.token_type", GgufInts(types)), "SentencePiece"},
  };
  const TempFolder folder;
  for (const Broken& broken : cases) {
    GgufBuilder builder = SentencePieceGguf();
    broken.change(builder);
    const auto status = Load(folder.Write("broken.gguf", builder.Build())).status();
    EXPECT_FALSE(status.ok()) << broken.name;
    EXPECT_THAT(std::string(status.message()), HasSubstr(broken.message)) << broken.name;
    EXPECT_THAT(std::string(status.message()), HasSubstr("broken.gguf")) << broken.name;
  }
}

SentencePieceDefinition Tiny() {
  SentencePieceDefinition definition;
  definition.path = "tiny.model";
  definition.proto = ReadFixture("tiny_bpe.model");
  return definition;
}

// "<|im_start|>" is a control piece of the model, "<tool>" a user-defined one.
TEST(SentencePieceTokenizerTest, SpacesBehindControlTokens) {
  SentencePieceDefinition definition = Tiny();
  const auto legacy = SentencePieceTokenizer::Create(definition);
  ASSERT_TRUE(legacy.ok()) << legacy.status();
  definition.prefix_once = true;
  const auto once = SentencePieceTokenizer::Create(definition);
  ASSERT_TRUE(once.ok()) << once.status();
  const std::string text = "the<|im_start|>the";
  const TokenId start = *(*legacy)->Find("<|im_start|>");
  std::vector<TokenId> word = Encode(**legacy, "the", kPlain);
  std::vector<TokenId> expected = word;
  expected.push_back(start);
  expected.insert(expected.end(), word.begin(), word.end());
  EXPECT_EQ(Encode(**legacy, text, kSpecial), expected);
  EXPECT_EQ((*legacy)->Decode(expected, false), " the<|im_start|> the");
  EXPECT_EQ((*once)->Decode(Encode(**once, text, kSpecial), false), " the<|im_start|>the");
  EXPECT_THAT(Encode(**legacy, text, kPlain), Not(Contains(start)));
}

TEST(SentencePieceTokenizerTest, AddedTokens) {
  SentencePieceDefinition definition = Tiny();
  const TokenId size = (*SentencePieceTokenizer::Create(definition))->vocab_size();
  const TokenId tool = *(*SentencePieceTokenizer::Create(definition))->Find("<tool>");
  AddedToken beyond;
  beyond.id = size + 1;  // leaves a hole
  beyond.text = "<new>";
  beyond.special = true;
  AddedToken piece;
  piece.id = tool;
  piece.text = "<tool>";
  piece.special = true;  // text must not become it any more
  definition.added = {beyond, piece};
  const auto made = SentencePieceTokenizer::Create(definition);
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ((*made)->vocab_size(), size + 2);
  EXPECT_THAT(Encode(**made, "a<new>", kSpecial), Contains(size + 1));
  EXPECT_THAT(Encode(**made, "a<new>", kPlain), Not(Contains(size + 1)));
  EXPECT_THAT(Encode(**made, "a<tool>", kSpecial), Contains(tool));
  EXPECT_THAT(Encode(**made, "a<tool>", kPlain), Not(Contains(tool)));
  EXPECT_TRUE((*made)->IsControl(tool));
  EXPECT_EQ((*made)->TokenText(size), "");
  for (const TokenId bad : {-1, 1 << 30}) {
    definition.added[0].id = bad;
    EXPECT_EQ(SentencePieceTokenizer::Create(definition).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
  definition.added[0].id = tool;
  const auto clash = SentencePieceTokenizer::Create(definition);
  EXPECT_THAT(std::string(clash.status().message()), HasSubstr("the model's piece is \"<tool>\""));
}

TEST(SentencePieceTokenizerTest, BrokenModelsAndRolesAreNamed) {
  SentencePieceDefinition definition = Tiny();
  definition.bos_text = "<nowhere>";
  EXPECT_THAT(std::string(SentencePieceTokenizer::Create(definition).status().message()),
              HasSubstr("tiny.model: the bos token is \"<nowhere>\""));
  definition = Tiny();
  definition.eos = {100000};
  EXPECT_THAT(std::string(SentencePieceTokenizer::Create(definition).status().message()),
              HasSubstr("100000"));
  const std::string whole = Tiny().proto;
  for (const std::string& proto : {std::string(), std::string("no protobuf"),
                                   whole.substr(0, whole.size() / 2), std::string(100, '\xff')}) {
    definition = Tiny();
    definition.proto = proto;
    const auto made = SentencePieceTokenizer::Create(definition);
    EXPECT_EQ(made.status().code(), absl::StatusCode::kInvalidArgument) << proto.size();
    EXPECT_THAT(std::string(made.status().message()), HasSubstr("tiny.model"));
  }
}

TEST(SentencePieceTokenizerTest, UnigramModelsCanBeWritten) {
  SentencePieceModel model;
  model.is_unigram = true;
  model.unk = "<unk>";
  model.pieces = {{"<unk>", 0, PieceType::kUnknown}, {"▁", -1}, {"a", -2}, {"b", -2}, {"ab", -3.5}};
  SentencePieceDefinition definition;
  definition.path = "made";
  definition.proto = SerializeModelProto(model);
  const auto made = SentencePieceTokenizer::Create(definition);
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_FALSE((*made)->bos().has_value());
  // One piece of -3.5 against two of -2.
  EXPECT_THAT(Encode(**made, "abz", kPlain), ElementsAre(1, 4, 0));
}

}  // namespace
}  // namespace transmla
