// LoadTokenizer on small checkpoints, whole and broken in every field.
#include "engine/tokenizer/load.h"

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <nlohmann/json.hpp>

#include "engine/format/checkpoint.h"
#include "tests/engine/tokenizer/checkpoints.h"
#include "tests/testing/temp_folder.h"

namespace transmla {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using testing::GgufBuilder;
using testing::GgufStrings;
using ::testing::HasSubstr;
using testing::TempFolder;

absl::StatusOr<LoadedTokenizer> Load(const std::string& path) {
  const auto checkpoint = OpenCheckpoint(path);
  if (!checkpoint.ok()) return checkpoint.status();
  return LoadTokenizer(**checkpoint);
}

std::vector<TokenId> Encode(const LoadedTokenizer& loaded, const std::string& text,
                            const EncodeOptions& options = {.parse_special = true}) {
  const auto ids = loaded.tokenizer->Encode(text, options);
  EXPECT_TRUE(ids.ok()) << ids.status();
  return *ids;
}

TEST(LoadTest, Gguf) {
  const TempFolder folder;
  const auto loaded = Load(folder.Write("m.gguf", testing::BpeGguf().Build()));
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  // a b Ġ ab Ġab <s> </s> <t>
  EXPECT_THAT(Encode(*loaded, "ab ab<s>a"), ElementsAre(5, 3, 4, 5, 0));
  EXPECT_THAT(Encode(*loaded, "b</s>", {.add_bos = false, .parse_special = true}),
              ElementsAre(1, 6));
  EXPECT_THAT(Encode(*loaded, "<s><t>a", {.add_bos = false, .parse_special = false}),
              ElementsAre(7, 0));  // "<s>" has no bytes in this vocabulary
  EXPECT_EQ(loaded->tokenizer->bos(), 5);
  EXPECT_THAT(loaded->tokenizer->eos(), ElementsAre(6));
  EXPECT_TRUE(loaded->tokenizer->IsControl(5));
  EXPECT_FALSE(loaded->tokenizer->IsControl(7));
  EXPECT_FALSE(loaded->tokenizer->IsControl(-1));
  EXPECT_FALSE(loaded->tokenizer->IsControl(8));
  EXPECT_EQ(loaded->tokenizer->TokenBytes(4), " ab");
  EXPECT_EQ(loaded->tokenizer->TokenBytes(5), "");
  EXPECT_EQ(loaded->tokenizer->TokenText(5), "<s>");
  EXPECT_EQ(loaded->tokenizer->TokenText(99), "");
  EXPECT_EQ(loaded->tokenizer->Find("Ġab"), 4);
  EXPECT_EQ(loaded->tokenizer->vocab_size(), 8);
  ASSERT_NE(loaded->chat_template, nullptr);
  EXPECT_EQ(loaded->chat_template->source(), "{{ bos_token }}x");
}

TEST(LoadTest, TextsThatAreTooLongAreRefused) {
  const TempFolder folder;
  const auto loaded = Load(folder.Write("m.gguf", testing::BpeGguf().Build()));
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const auto ids = loaded->tokenizer->Encode(std::string(Tokenizer::kMaxTextBytes + 1, 'a'), {});
  EXPECT_EQ(ids.status().code(), absl::StatusCode::kInvalidArgument);
}

struct BrokenGguf {
  const char* name;
  std::function<void(GgufBuilder&)> change;
  const char* message;
};

TEST(LoadTest, BrokenGgufNamesFileFieldAndValue) {
  const std::vector<BrokenGguf> cases = {
      {"no pre", [](GgufBuilder& b) { b.Drop("tokenizer.ggml.pre"); },
       "tokenizer.ggml.pre is missing"},
      {"unknown pre",
       [](GgufBuilder& b) { b.Drop("tokenizer.ggml.pre").Text("tokenizer.ggml.pre", "klingon"); },
       "tokenizer.ggml.pre is \"klingon\""},
      {"unknown model",
       [](GgufBuilder& b) {
         b.Drop("tokenizer.ggml.model").Text("tokenizer.ggml.model", "wordpiece");
       },
       "tokenizer.ggml.model is \"wordpiece\""},
      {"types too short",
       [](GgufBuilder& b) {
         b.Drop("tokenizer.ggml.token_type")
             .Entry("tokenizer.ggml.token_type", GgufType::kArray, testing::GgufInts({1, 1}));
       },
       "tokenizer.ggml.token_type has 2 entries but tokenizer.ggml.tokens has 8"},
      {"type unknown",
       [](GgufBuilder& b) {
         b.Drop("tokenizer.ggml.token_type")
             .Entry("tokenizer.ggml.token_type", GgufType::kArray,
                    testing::GgufInts({1, 1, 1, 1, 9, 3, 3, 4}));
       },
       "tokenizer.ggml.token_type[4] is 9"},
      {"eos out of range",
       [](GgufBuilder& b) {
         b.Drop("tokenizer.ggml.eos_token_id").U32("tokenizer.ggml.eos_token_id", 8);
       },
       "tokenizer.ggml.eos_token_id"},
      {"bos out of range",
       [](GgufBuilder& b) {
         b.Drop("tokenizer.ggml.bos_token_id").U32("tokenizer.ggml.bos_token_id", 4000000000u);
       },
       "tokenizer.ggml.bos_token_id"},
      {"bos wanted but not named", [](GgufBuilder& b) { b.Drop("tokenizer.ggml.bos_token_id"); },
       "none is named"},
      {"token twice",
       [](GgufBuilder& b) {
         b.Drop("tokenizer.ggml.tokens")
             .Entry("tokenizer.ggml.tokens", GgufType::kArray,
                    GgufStrings({"a", "b", "Ġ", "ab", "a", "<s>", "</s>", "<t>"}));
       },
       "tokenizer.ggml.tokens[4] is \"a\", which is token 0 already"},
      {"token too long",
       [](GgufBuilder& b) {
         b.Drop("tokenizer.ggml.tokens")
             .Entry("tokenizer.ggml.tokens", GgufType::kArray,
                    GgufStrings(
                        {"a", "b", "Ġ", "ab", "Ġab", "<s>", "</s>", std::string(100000, 'x')}));
       },
       "tokenizer.ggml.tokens[7] has 100000 bytes"},
      {"merge of an unknown token",
       [](GgufBuilder& b) {
         b.Drop("tokenizer.ggml.merges")
             .Entry("tokenizer.ggml.merges", GgufType::kArray, GgufStrings({"a b", "b zz"}));
       },
       "tokenizer.ggml.merges[1] needs the token \"zz\""},
      {"merge without a space",
       [](GgufBuilder& b) {
         b.Drop("tokenizer.ggml.merges")
             .Entry("tokenizer.ggml.merges", GgufType::kArray, GgufStrings({"ab"}));
       },
       "tokenizer.ggml.merges[0] is \"ab\""},
      {"no merges", [](GgufBuilder& b) { b.Drop("tokenizer.ggml.merges"); },
       "tokenizer.ggml.merges"},
      {"template broken",
       [](GgufBuilder& b) {
         b.Drop("tokenizer.chat_template").Text("tokenizer.chat_template", "{% if %}");
       },
       "tokenizer.chat_template"},
  };
  const TempFolder folder;
  for (const BrokenGguf& broken : cases) {
    GgufBuilder builder = testing::BpeGguf();
    broken.change(builder);
    const auto loaded = Load(folder.Write("broken.gguf", builder.Build()));
    EXPECT_EQ(loaded.status().code(), absl::StatusCode::kInvalidArgument)
        << broken.name << ": " << loaded.status();
    EXPECT_THAT(std::string(loaded.status().message()), HasSubstr(broken.message)) << broken.name;
    EXPECT_THAT(std::string(loaded.status().message()), HasSubstr("broken.gguf")) << broken.name;
  }
}

TEST(LoadTest, NoTokenizerIsNotFound) {
  const TempFolder folder;
  GgufBuilder builder = testing::BpeGguf();
  builder.Drop("tokenizer.ggml.model");
  EXPECT_EQ(Load(folder.Write("m.gguf", builder.Build())).status().code(),
            absl::StatusCode::kNotFound);
  testing::WriteHfModel(folder, 8);
  EXPECT_EQ(Load(folder.path()).status().code(), absl::StatusCode::kNotFound);
}

TEST(LoadTest, Folder) {
  const TempFolder folder;
  testing::WriteHfModel(folder, 8);
  folder.Write("tokenizer.json", testing::BpeTokenizerJson().dump());
  folder.Write(
      "tokenizer_config.json",
      R"({"bos_token":{"content":"<s>"},"eos_token":"</s>","chat_template":"{{ bos_token }}"})");
  const auto loaded = Load(folder.path());
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_THAT(Encode(*loaded, "ab ab<s>a"), ElementsAre(5, 3, 4, 5, 0));
  EXPECT_EQ(loaded->tokenizer->bos(), 5);
  EXPECT_EQ(loaded->chat_template->source(), "{{ bos_token }}");
  // config.json's eos_token_id is [2, 3] there, as kSmallConfig has it.
  EXPECT_THAT(loaded->tokenizer->eos(), ElementsAre(2, 3, 6));
  // Also when the file, not the folder, was opened; and chat_template.jinja rules.
  folder.Write("chat_template.jinja", "own file");
  EXPECT_EQ(Load(folder.File("model.safetensors"))->chat_template->source(), "own file");
}

TEST(LoadTest, FolderOptions) {
  const TempFolder folder;
  testing::WriteHfModel(folder, 8);
  json tokenizer = testing::BpeTokenizerJson();
  tokenizer["post_processor"] = nullptr;
  folder.Write("tokenizer.json", tokenizer.dump());
  EXPECT_THAT(Encode(*Load(folder.path()), "a"), ElementsAre(0));
  EXPECT_EQ(Load(folder.path())->chat_template, nullptr);
  folder.Write("special_tokens_map.json", R"({"bos_token":"<s>"})");
  EXPECT_THAT(Encode(*Load(folder.path()), "a"), ElementsAre(0));
  EXPECT_EQ(Load(folder.path())->tokenizer->bos(), 5);
  folder.Write("tokenizer_config.json", R"({"add_bos_token":true,"chat_template":[
      {"name":"tool_use","template":"tools"},{"name":"default","template":"plain"}]})");
  EXPECT_THAT(Encode(*Load(folder.path()), "a"), ElementsAre(5, 0));
  EXPECT_EQ(Load(folder.path())->chat_template->source(), "plain");
}

TEST(LoadTest, TokensWithoutEmbeddingAreRefused) {
  const TempFolder folder;
  testing::WriteHfModel(folder, 7);
  folder.Write("tokenizer.json", testing::BpeTokenizerJson().dump());
  const auto loaded = Load(folder.path());
  EXPECT_EQ(loaded.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(loaded.status().message()), HasSubstr("8 tokens"));
}

struct BrokenJson {
  const char* name;
  std::function<void(json&)> change;
  const char* message;
  absl::StatusCode code = absl::StatusCode::kInvalidArgument;
};

TEST(LoadTest, BrokenTokenizerJsonNamesFileFieldAndValue) {
  const std::vector<BrokenJson> cases = {
      {"negative id", [](json& t) { t["model"]["vocab"]["a"] = -1; }, "model: vocab"},
      {"huge id", [](json& t) { t["model"]["vocab"]["a"] = 1ll << 40; }, "model: vocab"},
      {"wrapping id", [](json& t) { t["model"]["vocab"]["a"] = UINT64_MAX; }, "model: vocab"},
      {"id is text", [](json& t) { t["model"]["vocab"]["a"] = "0"; }, "model: vocab"},
      {"id twice", [](json& t) { t["model"]["vocab"]["a"] = 1; }, "the same id 1"},
      {"no vocabulary", [](json& t) { t["model"].erase("vocab"); }, "vocab is missing"},
      {"empty vocabulary",
       [](json& t) {
         t["model"]["vocab"] = json::object();
         t["added_tokens"] = json::array();
       },
       "model.vocab has 0 tokens"},
      {"merges is text", [](json& t) { t["model"]["merges"] = "a b"; }, "merges is \"a b\""},
      {"merge of three",
       [](json& t) {
         t["model"]["merges"][0] = {"a", "b", "a"};
       },
       "merges[0]"},
      {"merge unknown",
       [](json& t) {
         t["model"]["merges"][0] = {"a", "q"};
       },
       "\"q\""},
      {"added token elsewhere", [](json& t) { t["added_tokens"][0]["id"] = 0; }, "the same id 0"},
      {"added token is a number", [](json& t) { t["added_tokens"][0] = 5; },
       "added_tokens[0] is 5"},
      {"added token without id", [](json& t) { t["added_tokens"][0].erase("id"); },
       "id is missing"},
      {"added tokens twice", [](json& t) { t["added_tokens"][1]["content"] = "<s>"; }, "already"},
      {"unknown unk", [](json& t) { t["model"]["unk_token"] = "?"; }, "unk_token is \"?\""},
      {"no pre-tokeniser", [](json& t) { t["pre_tokenizer"] = nullptr; }, "no ByteLevel step",
       absl::StatusCode::kUnimplemented},
      {"pre-tokeniser unknown",
       [](json& t) {
         t["pre_tokenizer"] = {{"type", "Metaspace"}};
       },
       "\"Metaspace\"", absl::StatusCode::kUnimplemented},
      {"normaliser unknown",
       [](json& t) {
         t["normalizer"] = {{"type", "NFKC"}};
       },
       "\"NFKC\"", absl::StatusCode::kUnimplemented},
      {"dropout", [](json& t) { t["model"]["dropout"] = 0.1; }, "dropout is 0.1",
       absl::StatusCode::kUnimplemented},
      {"suffix", [](json& t) { t["model"]["end_of_word_suffix"] = "</w>"; }, "\"</w>\"",
       absl::StatusCode::kUnimplemented},
      {"post-processor unknown",
       [](json& t) {
         t["post_processor"] = {{"type", "BertProcessing"}};
       },
       "\"BertProcessing\"", absl::StatusCode::kUnimplemented},
      {"post-processor's token unknown",
       [](json& t) { t["post_processor"]["special_tokens"] = json::object(); }, "\"<s>\""},
      {"WordPiece", [](json& t) { t["model"]["type"] = "WordPiece"; }, "tokenizer.model"},
  };
  const TempFolder folder;
  testing::WriteHfModel(folder, 8);
  for (const BrokenJson& broken : cases) {
    json tokenizer = testing::BpeTokenizerJson();
    broken.change(tokenizer);
    folder.Write("tokenizer.json", tokenizer.dump());
    const auto loaded = Load(folder.path());
    EXPECT_EQ(loaded.status().code(), broken.code) << broken.name << ": " << loaded.status();
    EXPECT_THAT(std::string(loaded.status().message()), HasSubstr(broken.message)) << broken.name;
    EXPECT_THAT(std::string(loaded.status().message()), HasSubstr("tokenizer.json")) << broken.name;
  }
}

TEST(LoadTest, BrokenSmallFilesAreNamed) {
  const TempFolder folder;
  testing::WriteHfModel(folder, 8);
  folder.Write("tokenizer.json", testing::BpeTokenizerJson().dump());
  const std::pair<const char*, const char*> cases[] = {
      {"tokenizer_config.json", "{"},
      {"tokenizer_config.json", R"({"bos_token":5})"},
      {"tokenizer_config.json", R"({"bos_token":"<nowhere>"})"},
      {"tokenizer_config.json", R"({"add_bos_token":"yes"})"},
      {"tokenizer_config.json", R"({"chat_template":{}})"},
      {"tokenizer_config.json", R"({"chat_template":[{"name":"default"}]})"},
      {"special_tokens_map.json", "[]"},
  };
  for (const auto& [name, text] : cases) {
    folder.Write("tokenizer_config.json", "{}");
    folder.Write("special_tokens_map.json", "{}");
    folder.Write(name, text);
    const auto loaded = Load(folder.path());
    EXPECT_EQ(loaded.status().code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(loaded.status().message()), HasSubstr(name)) << text;
  }
}

}  // namespace
}  // namespace transmla
