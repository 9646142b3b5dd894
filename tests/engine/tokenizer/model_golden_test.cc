// Ids identical to Hugging Face's on the strings of smollm2.jsonl, qwen.jsonl and
// broken_utf8.jsonl, read from the models' GGUF files.
#include <filesystem>
#include <memory>
#include <string>

#include "absl/strings/escaping.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "engine/base/file.h"
#include "engine/format/checkpoint.h"
#include "engine/tokenizer/export.h"
#include "engine/tokenizer/load.h"
#include "tests/engine/tokenizer/checkpoints.h"
#include "tests/engine/tokenizer/fixtures.h"
#include "tests/testing/real_models.h"
#include "tests/testing/temp_folder.h"

namespace transmla {
namespace {

using testing::ExpectRows;
using testing::FixtureRows;

struct Model {
  std::string file;
  std::string fixture;
  size_t broken_column;  // of broken_utf8.jsonl
  bool required;
};

class ModelGoldenTest : public ::testing::TestWithParam<Model> {
 protected:
  void SetUp() override {
    const std::string path = testing::RealModelPath(GetParam().file);
    if (!GetParam().required && !std::filesystem::exists(path)) {
      GTEST_SKIP() << path << " is missing; scripts/fetch-models gets it";
    }
    const auto checkpoint = OpenCheckpoint(path);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    checkpoint_ = *checkpoint;
    const auto loaded = LoadTokenizer(*checkpoint_);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    tokenizer_ = loaded->tokenizer;
    EXPECT_NE(loaded->chat_template, nullptr);
  }

  std::shared_ptr<const CheckpointReader> checkpoint_;
  std::shared_ptr<const Tokenizer> tokenizer_;
};

TEST_P(ModelGoldenTest, IdsAreHuggingFaces) {
  const auto rows = FixtureRows(GetParam().fixture);
  EXPECT_GE(rows.size(), 2000u);
  ExpectRows(*tokenizer_, rows);
}

// tests/golden/check_exported_tokenizer.py asks Hugging Face the same.
TEST_P(ModelGoldenTest, ExportedFilesGiveTheSameIds) {
  const testing::TempFolder folder;
  testing::WriteHfModel(folder, tokenizer_->vocab_size());
  const absl::Status status = WriteTokenizerFiles(*checkpoint_, PosixFileSystem(), folder.path());
  ASSERT_TRUE(status.ok()) << status;
  const auto checkpoint = OpenCheckpoint(folder.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const auto loaded = LoadTokenizer(**checkpoint);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  ExpectRows(*loaded->tokenizer, FixtureRows(GetParam().fixture));
  EXPECT_EQ(loaded->tokenizer->bos(), tokenizer_->bos());
  EXPECT_NE(loaded->chat_template, nullptr);
}

TEST_P(ModelGoldenTest, BrokenUtf8IsReplaced) {
  for (const auto& row : FixtureRows("broken_utf8.jsonl")) {
    const std::string bytes = absl::HexStringToBytes(row[0].get<std::string>());
    const auto ids = tokenizer_->Encode(bytes, {.add_bos = false});
    ASSERT_TRUE(ids.ok()) << ids.status();
    EXPECT_EQ(*ids, row[GetParam().broken_column].get<std::vector<TokenId>>()) << row[0];
  }
}

TEST_P(ModelGoldenTest, RolesAreKnown) {
  ASSERT_TRUE(tokenizer_->Find("<|im_end|>").has_value());
  EXPECT_THAT(std::vector<TokenId>(tokenizer_->eos().begin(), tokenizer_->eos().end()),
              ::testing::Contains(*tokenizer_->Find("<|im_end|>")));
  EXPECT_TRUE(tokenizer_->bos().has_value());
  EXPECT_TRUE(tokenizer_->IsControl(*tokenizer_->Find("<|im_start|>")));
  EXPECT_EQ(tokenizer_->vocab_size(), checkpoint_->config().vocab_size);
}

INSTANTIATE_TEST_SUITE_P(
    Models, ModelGoldenTest,
    ::testing::Values(Model{std::string(testing::kSmolLm2), "smollm2.jsonl", 2, true},
                      Model{std::string(testing::kQwen), "qwen.jsonl", 3, false}),
    [](const auto& model) { return model.param.required ? "SmolLM2" : "Qwen"; });

}  // namespace
}  // namespace transmla
