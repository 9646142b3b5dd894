#include "engine/tokenizer/gguf_export.h"

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <nlohmann/json.hpp>

#include "engine/base/check.h"
#include "engine/base/file.h"
#include "engine/format/gguf_reader.h"
#include "engine/format/gguf_writer.h"
#include "engine/tokenizer/model_proto.h"
#include "tests/engine/tokenizer/checkpoints.h"
#include "tests/engine/tokenizer/fixtures.h"
#include "tests/engine/tokenizer/same_tokenizer.h"
#include "tests/testing/temp_folder.h"

namespace transmla {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::ExpectSameTokenizer;
using testing::FixtureRows;
using ::testing::HasSubstr;
using testing::LoadTokenizerOf;
using testing::ReadFixture;
using testing::TempFolder;

std::shared_ptr<const CheckpointReader> Open(const std::string& path) {
  auto checkpoint = OpenCheckpoint(path);
  CHECK_OK(checkpoint.status());
  return *std::move(checkpoint);
}

// A GGUF file of a model of `num_tokens` tokens with the tokenizer of the folder.
std::string AsGguf(const TempFolder& source, const TempFolder& target, int num_tokens,
                   int64_t fill_up = 0) {
  const auto tokenizer = GgufTokenizer::FromFolder(*Open(source.path()), fill_up);
  CHECK_OK(tokenizer.status());
  const auto number = [](const char* key, uint64_t value) -> GgufEntry {
    return {key, {GgufType::kUint32, value}};
  };
  std::vector<GgufEntry> entries = {
      {"general.architecture", {GgufType::kString, absl::string_view("llama")}},
      number("llama.block_count", 1),
      number("llama.embedding_length", 8),
      number("llama.feed_forward_length", 16),
      number("llama.attention.head_count", 2),
      number("llama.context_length", 64)};
  entries.insert(entries.end(), (*tokenizer)->entries().begin(), (*tokenizer)->entries().end());
  const std::string path = target.File("model.gguf");
  const auto writer =
      GgufWriter::Create(*PosixFileSystem(), path, entries,
                         {{"token_embd.weight", DType::kF32, Shape({num_tokens, 8})}});
  CHECK_OK(writer.status());
  CHECK_OK((*writer)->AppendFloats("token_embd.weight", std::vector<float>(8 * num_tokens)));
  CHECK_OK((*writer)->Finish());
  return path;
}

absl::Status Refusal(const TempFolder& source) {
  return GgufTokenizer::FromFolder(*Open(source.path())).status();
}

// Folders of the tokenizers of checkpoints.h.
class BpeFolder {
 public:
  BpeFolder() { testing::WriteHfModel(folder, 8); }
  void Write() const {
    folder.Write("tokenizer.json", tokenizer.dump());
    folder.Write("tokenizer_config.json", config.dump());
  }
  absl::Status Refused() const {
    Write();
    const absl::Status status = Refusal(folder);
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << status;
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("tokenizer.json: "), HasSubstr("GGUF cannot say")));
    return status;
  }

  const TempFolder folder;
  json tokenizer = testing::BpeTokenizerJson();
  json config = {{"bos_token", "<s>"}, {"eos_token", "</s>"}, {"chat_template", "{{ eos_token }}"}};
};

TEST(GgufExportTest, ByteLevelFolderComesBackTheSame) {
  const TempFolder target;
  BpeFolder source;
  source.config["pad_token"] = "<t>";
  source.Write();
  const std::string path = AsGguf(source.folder, target, 8);
  ExpectSameTokenizer(LoadTokenizerOf(source.folder.path()), LoadTokenizerOf(path));
  const auto reader = GgufReader::Open(*PosixFileSystem(), path);
  const GgufMetadata& metadata = (*reader)->metadata();
  EXPECT_EQ(*metadata.GetString("tokenizer.ggml.model"), "gpt2");
  EXPECT_EQ(*metadata.GetString("tokenizer.ggml.pre"), "gpt-2");
  EXPECT_THAT(*metadata.GetInts("tokenizer.ggml.token_type"), ElementsAre(1, 1, 1, 1, 1, 3, 3, 4));
  EXPECT_THAT(*metadata.GetStrings("tokenizer.ggml.merges"), ElementsAre("a b", "Ġ ab"));
  EXPECT_EQ(*metadata.GetInt("tokenizer.ggml.bos_token_id", 0, 99), 5);
  EXPECT_EQ(*metadata.GetInt("tokenizer.ggml.eos_token_id", 0, 99), 6);
  EXPECT_EQ(*metadata.GetInt("tokenizer.ggml.padding_token_id", 0, 99), 7);
  EXPECT_TRUE(*metadata.GetBool("tokenizer.ggml.add_bos_token"));
}

TEST(GgufExportTest, TokensAreFilledUp) {
  const TempFolder target;
  BpeFolder source;
  source.Write();
  const auto reader =
      GgufReader::Open(*PosixFileSystem(), AsGguf(source.folder, target, 11, /*fill_up=*/10));
  const GgufMetadata& metadata = (*reader)->metadata();
  EXPECT_EQ(metadata.GetStrings("tokenizer.ggml.tokens")->back(), "[PAD9]");
  EXPECT_EQ(metadata.GetInts("tokenizer.ggml.token_type")->back(), 5);
  EXPECT_EQ(metadata.GetStrings("tokenizer.ggml.tokens")->size(), 10u);
}

// As the models' own files have them, with what makes no difference.
TEST(GgufExportTest, PipelinesAreKnownByWhatTheyDo) {
  const auto name = [](const char* normalizer, const char* pre_tokenizer, bool ignore_merges) {
    const TempFolder target;
    BpeFolder source;
    source.tokenizer["normalizer"] = json::parse(normalizer);
    source.tokenizer["pre_tokenizer"] = json::parse(pre_tokenizer);
    source.tokenizer["model"]["ignore_merges"] = ignore_merges;
    source.Write();
    const auto tokenizer = GgufTokenizer::FromFolder(*Open(source.folder.path()));
    CHECK_OK(tokenizer.status());
    for (const GgufEntry& entry : (*tokenizer)->entries()) {
      if (entry.key == "tokenizer.ggml.pre")
        return std::string(std::get<absl::string_view>(entry.value.value));
    }
    return std::string();
  };
  EXPECT_EQ(name("null", R"({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false,
                             "use_regex": true})",
                 false),
            "gpt-2");
  EXPECT_EQ(name(R"({"type": "Sequence", "normalizers": [{"type": "NFC"}]})",
                 R"({"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex":
      "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
      "behavior": "Isolated"}, {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]})",
                 false),
            "qwen2");
  EXPECT_EQ(name("null", R"({"type": "Sequence", "pretokenizers": [
      {"type": "Digits", "individual_digits": true},
      {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}]})",
                 false),
            "smollm");
}

TEST(GgufExportTest, WhatByteLevelTokenizersDoBeyondGgufIsNamed) {
  const auto refused = [](const std::function<void(BpeFolder&)>& change) {
    BpeFolder source;
    change(source);
    return std::string(source.Refused().message());
  };
  EXPECT_THAT(refused([](BpeFolder& f) { f.tokenizer["added_tokens"][0]["rstrip"] = true; }),
              HasSubstr("\"<s>\" has rstrip"));
  EXPECT_THAT(refused([](BpeFolder& f) { f.tokenizer["model"]["ignore_merges"] = true; }),
              HasSubstr("cannot say what its normalizer"));
  EXPECT_THAT(refused([](BpeFolder& f) {
                f.tokenizer["normalizer"] = {{"type", "NFC"}};
              }),
              HasSubstr("cannot say what its normalizer"));
  EXPECT_THAT(refused([](BpeFolder& f) { f.tokenizer["model"]["unk_token"] = "a"; }),
              HasSubstr("become unk_token"));
  EXPECT_THAT(refused([](BpeFolder& f) {
                json config = json::parse(f.folder.Read("config.json"));
                config["eos_token_id"] = {0, 1, 2};
                f.folder.Write("config.json", config.dump());
              }),
              HasSubstr("has 4 tokens that end a text, of which 4 are not known"));
}

TEST(GgufExportTest, AFolderWithoutATokenizerHasNone) {
  const TempFolder folder;
  testing::WriteHfModel(folder, 8);
  const auto tokenizer = GgufTokenizer::FromFolder(*Open(folder.path()));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_TRUE((*tokenizer)->entries().empty());
}

// The pieces of SentencePieceGguf, <t> being an added token behind them.
SentencePieceModel SmallModel() {
  SentencePieceModel model{.byte_fallback = true, .unk = "<unk>", .bos = "<s>", .eos = "</s>"};
  const auto add = [&](const std::string& text, PieceType type) {
    model.pieces.push_back({text, -static_cast<float>(model.pieces.size()), type});
  };
  add("<unk>", PieceType::kUnknown);
  add("<s>", PieceType::kControl);
  add("</s>", PieceType::kControl);
  for (int byte = 0; byte < 256; ++byte) add(absl::StrFormat("<0x%02X>", byte), PieceType::kByte);
  for (const char* text : {"▁", "a", "b", "▁a", "▁ab"}) add(text, PieceType::kNormal);
  return model;
}

class SentencePieceFolder {
 public:
  SentencePieceFolder() { testing::WriteHfModel(folder, 266); }
  void Write() const {
    folder.Write("tokenizer.model", SerializeModelProto(model));
    folder.Write("tokenizer_config.json", config.dump());
  }
  std::string Refused() const {
    Write();
    const absl::Status status = Refusal(folder);
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("tokenizer.model: "));
    return std::string(status.message());
  }

  const TempFolder folder;
  SentencePieceModel model = SmallModel();
  json config = {{"bos_token", "<s>"},
                 {"eos_token", "</s>"},
                 {"legacy", false},
                 {"added_tokens_decoder",
                  {{"0", {{"content", "<unk>"}, {"special", true}}},
                   {"264", {{"content", "<t>"}, {"special", true}}}}}};
};

TEST(GgufExportTest, SentencePieceFolderComesBackTheSame) {
  for (const bool legacy : {false, true}) {
    for (const bool prefix : {false, true}) {
      SCOPED_TRACE(absl::StrCat(legacy, prefix));
      const TempFolder target;
      SentencePieceFolder source;
      source.config["legacy"] = legacy;
      source.model.add_dummy_prefix = prefix;
      source.Write();
      const std::string path = AsGguf(source.folder, target, 266);
      const LoadedTokenizer from = LoadTokenizerOf(source.folder.path());
      const LoadedTokenizer to = LoadTokenizerOf(path);
      ExpectSameTokenizer(from, to);
      EXPECT_EQ(from.tokenizer->eos(), to.tokenizer->eos());
      for (const char* text : {"a<unk>b", "ab<t>a<s> b", "<t>a", "a  b"}) {
        EXPECT_EQ(*from.tokenizer->Encode(text, {}), *to.tokenizer->Encode(text, {})) << text;
      }
    }
  }
}

TEST(GgufExportTest, TrainedSentencePieceGivesTheSameIds) {
  const TempFolder source, target;
  testing::WriteHfModel(source, 1000);
  source.Write("tokenizer.model", ReadFixture("tiny_bpe.model"));
  const LoadedTokenizer loaded = LoadTokenizerOf(AsGguf(source, target, 1000));
  for (const json& row : FixtureRows("tiny_bpe.jsonl")) {
    const auto ids = loaded.tokenizer->Encode(row[0].get<std::string>(), {.add_bos = false});
    ASSERT_TRUE(ids.ok()) << ids.status();
    EXPECT_EQ(*ids, row[1].get<std::vector<TokenId>>()) << row[0];
  }
}

TEST(GgufExportTest, WhatSentencePieceModelsDoBeyondGgufIsNamed) {
  const auto refused = [](const std::function<void(SentencePieceFolder&)>& change) {
    SentencePieceFolder source;
    change(source);
    return source.Refused();
  };
  EXPECT_THAT(refused([](SentencePieceFolder& f) { f.model.is_unigram = true; }),
              HasSubstr("cannot say that its model is unigram, not BPE"));
  EXPECT_THAT(refused([](SentencePieceFolder& f) {
                f.config["added_tokens_decoder"]["264"]["special"] = false;
              }),
              HasSubstr("\"<t>\" is an added token of text"));
  EXPECT_THAT(refused([](SentencePieceFolder& f) {
                f.config["added_tokens_decoder"]["264"]["lstrip"] = true;
              }),
              HasSubstr("\"<t>\" has lstrip"));
}

TEST(ModelProtoTest, IsReadAsWritten) {
  const SentencePieceModel model = SmallModel();
  const auto read = ParseModelProto("m", SerializeModelProto(model));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(SerializeModelProto(*read), SerializeModelProto(model));
  EXPECT_EQ(read->pieces.size(), 264u);
  EXPECT_EQ(read->pieces[7].score, -7);
  EXPECT_EQ(read->unk, "<unk>");
  EXPECT_TRUE(read->add_dummy_prefix);
  EXPECT_FALSE(read->remove_extra_whitespaces);
}

// A normalizer_spec (field 3) with a precompiled_charsmap (2), and one that leaves spaces (5).
TEST(ModelProtoTest, WhatItCannotHoldIsNamed) {
  const std::string proto = SerializeModelProto(SmallModel());
  const auto message = [&](absl::string_view more) {
    const absl::Status status = ParseModelProto("m", absl::StrCat(proto, more)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << status;
    return std::string(status.message());
  };
  EXPECT_THAT(message("\x1a\x03\x12\x01x"), HasSubstr("precompiled_charsmap"));
  EXPECT_THAT(message(absl::string_view("\x1a\x02\x28\x00", 4)), HasSubstr("leaves spaces"));
  // trainer_spec (2): model_type (3) is words (3), treat_whitespace_as_suffix (24).
  EXPECT_THAT(message("\x12\x02\x18\x03"), HasSubstr("model_type is 3"));
  EXPECT_THAT(message("\x12\x03\xc0\x01\x01"), HasSubstr("treat_whitespace_as_suffix"));
  EXPECT_EQ(ParseModelProto("m", proto.substr(0, proto.size() - 1)).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace transmla
