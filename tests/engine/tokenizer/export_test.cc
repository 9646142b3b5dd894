#include "engine/tokenizer/export.h"

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <nlohmann/json.hpp>

#include "engine/base/file.h"
#include "engine/format/checkpoint.h"
#include "tests/engine/tokenizer/checkpoints.h"
#include "tests/engine/tokenizer/same_tokenizer.h"
#include "tests/testing/temp_folder.h"

namespace transmla {
namespace {

using nlohmann::json;
using testing::ExpectSameTokenizer;
using testing::GgufBuilder;
using testing::GgufStrings;
using ::testing::HasSubstr;
using testing::LoadTokenizerOf;
using testing::TempFolder;

absl::Status Export(const std::string& from, const TempFolder& to) {
  const auto checkpoint = OpenCheckpoint(from);
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
  return WriteTokenizerFiles(**checkpoint, PosixFileSystem(), to.path());
}

TEST(ExportTest, ByteLevelGgufComesBackTheSame) {
  const TempFolder source, target;
  const std::string path = source.Write("m.gguf", testing::BpeGguf().Build());
  testing::WriteHfModel(target, 8);
  ASSERT_TRUE(Export(path, target).ok());
  ExpectSameTokenizer(LoadTokenizerOf(path), LoadTokenizerOf(target.path()));
  const json config = json::parse(target.Read("tokenizer_config.json"));
  EXPECT_EQ(config["tokenizer_class"], "PreTrainedTokenizerFast");
  EXPECT_EQ(config["eos_token"], "</s>");
  EXPECT_EQ(config["add_bos_token"], true);
  EXPECT_EQ(config["chat_template"], "{{ bos_token }}x");
  EXPECT_EQ(config["model_max_length"], 64);
}

TEST(ExportTest, SentencePieceGgufComesBackTheSame) {
  const TempFolder source, target;
  const std::string path = source.Write("m.gguf", testing::SentencePieceGguf().Build());
  testing::WriteHfModel(target, 265);
  ASSERT_TRUE(Export(path, target).ok());
  ExpectSameTokenizer(LoadTokenizerOf(path), LoadTokenizerOf(target.path()));
  const json tokenizer = json::parse(target.Read("tokenizer.json"));
  // All ways to make a piece, the best piece first; scores fall with the ids.
  EXPECT_EQ(tokenizer["model"]["merges"], json::parse(R"([["▁", "a"], ["▁a", "b"]])"));
  EXPECT_EQ(tokenizer["model"]["unk_token"], "<unk>");
  EXPECT_EQ(tokenizer["post_processor"]["single"][0]["SpecialToken"]["id"], "<s>");
  EXPECT_EQ(tokenizer["added_tokens"].size(), 4u);
}

TEST(ExportTest, FoldersAreCopied) {
  const TempFolder source, target;
  testing::WriteHfModel(source, 8);
  testing::WriteHfModel(target, 8);
  source.Write("tokenizer.json", testing::BpeTokenizerJson().dump());
  source.Write("tokenizer_config.json", R"({"bos_token":"<s>"})");
  source.Write("chat_template.jinja", "{{ bos_token }}");
  source.Write("README.md", "not a tokenizer");
  ASSERT_TRUE(Export(source.path(), target).ok());
  ExpectSameTokenizer(LoadTokenizerOf(source.path()), LoadTokenizerOf(target.path()));
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}) {
    EXPECT_EQ(source.Read(name), target.Read(name)) << name;
  }
  EXPECT_EQ(target.Read("README.md"), "");
}

TEST(ExportTest, TextsThatJsonCannotHoldAreNamed) {
  const TempFolder source, target;
  GgufBuilder builder = testing::BpeGguf();
  builder.Drop("tokenizer.ggml.tokens")
      .Entry("tokenizer.ggml.tokens", GgufType::kArray,
             GgufStrings({"a", "b", "Ġ", "ab", "Ġab", "<s>", "</s>", "\xff"}));
  const absl::Status status = Export(source.Write("m.gguf", builder.Build()), target);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("tokenizer.ggml.tokens[7] is not UTF-8"));
}

}  // namespace
}  // namespace transmla
