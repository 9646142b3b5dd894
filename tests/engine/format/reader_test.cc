// What the readers give for sound files: tensors, hyper-parameters, metadata.
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "engine/base/check.h"
#include "engine/base/file.h"
#include "engine/format/checkpoint.h"
#include "engine/format/gguf_reader.h"
#include "engine/format/safetensors_reader.h"
#include "tests/testing/gguf_builder.h"
#include "tests/testing/safetensors_builder.h"
#include "tests/testing/temp_folder.h"

namespace transmla {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using namespace transmla::testing;  // NOLINT: the builders

std::string Tiny(const char* path) {
  return absl::StrCat(TRANSMLA_SOURCE_DIR, "/tests/golden/tiny_models/", path);
}

std::shared_ptr<const CheckpointReader> Open(const std::string& path) {
  auto reader = OpenCheckpoint(path);
  CHECK_OK(reader.status());
  return *std::move(reader);
}

std::shared_ptr<const GgufReader> OpenGguf(const TempFolder& folder, const GgufBuilder& builder) {
  auto reader = GgufReader::Open(*PosixFileSystem(), folder.Write("model.gguf", builder.Build()));
  CHECK_OK(reader.status());
  return *std::move(reader);
}

class GgufVersionTest : public ::testing::TestWithParam<uint32_t> {};

TEST_P(GgufVersionTest, TensorsAndSizes) {
  GgufBuilder builder = SmallLlamaGguf();
  builder.version = GetParam();
  std::string bytes = builder.Build();
  for (int i = 0; i < 8; ++i) bytes[bytes.size() - 32 + i] = static_cast<char>(i);  // output_norm
  const TempFolder folder;
  const auto reader = Open(folder.Write("model.gguf", bytes));
  EXPECT_EQ(reader->format(), CheckpointFormat::kGguf);
  ASSERT_EQ(reader->tensors().size(), 2u);
  // Dimensions in the file come innermost first.
  EXPECT_EQ(reader->tensors()[0].name, "token_embd.weight");
  EXPECT_EQ(reader->tensors()[0].shape, Shape({4, 8}));
  const absl::StatusOr<TensorView> norm = reader->Tensor("output_norm.weight");
  ASSERT_TRUE(norm.ok());
  EXPECT_EQ(norm->shape, Shape({8}));
  EXPECT_EQ(norm->as<uint8_t>()[7], 7);
  EXPECT_TRUE(reader->Has("token_embd.weight"));
  EXPECT_EQ(reader->Tensor("x").status().code(), absl::StatusCode::kNotFound);

  const Config& config = reader->config();
  EXPECT_EQ(config.architecture, "llama");
  EXPECT_EQ(config.vocab_size, 4);
  EXPECT_EQ(config.hidden_size, 8);
  EXPECT_EQ(config.num_hidden_layers, 1);
  EXPECT_EQ(config.num_attention_heads, 2);
  EXPECT_EQ(config.num_key_value_heads, 1);
  EXPECT_EQ(config.head_dim, 4);
  EXPECT_EQ(config.max_position_embeddings, 64);
  EXPECT_FLOAT_EQ(config.rms_norm_eps, 1e-5);
  EXPECT_TRUE(config.tie_word_embeddings);
  EXPECT_THAT(config.eos_token_ids, ElementsAre(3));
  EXPECT_EQ(config.name, "model.gguf");
}

INSTANTIATE_TEST_SUITE_P(Versions, GgufVersionTest, ::testing::Values(2u, 3u));

TEST(GgufReaderTest, MetadataOfEveryType) {
  GgufBuilder b = SmallLlamaGguf();
  b.Entry("t.u8", GgufType::kUint8, Bytes<uint8_t>(200))
      .Entry("t.i8", GgufType::kInt8, Bytes<int8_t>(-100))
      .Entry("t.u16", GgufType::kUint16, Bytes<uint16_t>(60000))
      .Entry("t.i16", GgufType::kInt16, Bytes<int16_t>(-30000))
      .Entry("t.i32", GgufType::kInt32, Bytes<int32_t>(-7))
      .Entry("t.u64", GgufType::kUint64, Bytes<uint64_t>(~uint64_t{0}))
      .Entry("t.i64", GgufType::kInt64, Bytes<int64_t>(-(int64_t{1} << 40)))
      .Entry("t.f64", GgufType::kFloat64, Bytes<double>(0.125))
      .Entry("t.true", GgufType::kBool, Bytes<uint8_t>(1))
      .Text("t.text", "caf\xc3\xa9")
      .Entry("t.ints", GgufType::kArray,
             Bytes<uint32_t>(5) + Bytes<uint64_t>(2) + Bytes<int32_t>(-1) + Bytes<int32_t>(9))
      .Entry("t.floats", GgufType::kArray,
             Bytes<uint32_t>(6) + Bytes<uint64_t>(2) + Bytes(0.5f) + Bytes(-2.0f))
      .Entry("t.empty", GgufType::kArray, Bytes<uint32_t>(8) + Bytes<uint64_t>(0));
  const TempFolder folder;
  const auto reader = OpenGguf(folder, b);
  const GgufMetadata& m = reader->metadata();
  const auto whole = [&](const char* key) { return m.GetInt(key, INT64_MIN, INT64_MAX); };
  EXPECT_EQ(*whole("t.u8"), 200);
  EXPECT_EQ(*whole("t.i8"), -100);
  EXPECT_EQ(*whole("t.u16"), 60000);
  EXPECT_EQ(*whole("t.i16"), -30000);
  EXPECT_EQ(*whole("t.i32"), -7);
  EXPECT_EQ(*whole("t.i64"), -(int64_t{1} << 40));
  EXPECT_EQ(whole("t.u64").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(*m.GetFloat("t.f64"), 0.125);
  EXPECT_EQ(*m.GetFloat("llama.rope.freq_base"), 10000.0);
  EXPECT_EQ(*m.GetFloat("t.i32"), -7);
  EXPECT_TRUE(*m.GetBool("t.true"));
  EXPECT_EQ(*m.GetString("t.text"), "caf\xc3\xa9");
  EXPECT_THAT(*m.GetInts("t.ints"), ElementsAre(-1, 9));
  EXPECT_THAT(*m.GetFloats("t.floats"), ElementsAre(0.5f, -2.0f));
  EXPECT_THAT(*m.GetStrings("t.empty"), ElementsAre());
  EXPECT_THAT(*m.GetStrings("tokenizer.ggml.tokens"), ElementsAre("a", "b", "c", "</s>"));
}

TEST(GgufReaderTest, WrongTypesNameKeyAndType) {
  const TempFolder folder;
  const auto reader = OpenGguf(folder, SmallLlamaGguf());
  const GgufMetadata& m = reader->metadata();
  EXPECT_EQ(m.GetInt("missing", 0, 1).status().code(), absl::StatusCode::kNotFound);
  const absl::Status text = m.GetString("llama.block_count").status();
  EXPECT_EQ(text.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(text.message()), HasSubstr("llama.block_count is uint32"));
  EXPECT_FALSE(m.GetInts("general.architecture").ok());
  EXPECT_FALSE(m.GetFloats("tokenizer.ggml.tokens").ok());
  EXPECT_FALSE(m.GetBool("llama.block_count").ok());
  EXPECT_THAT(std::string(m.GetInt("llama.context_length", 0, 63).status().message()),
              HasSubstr("64"));
}

TEST(GgufReaderTest, OtherAlignmentsAreFollowed) {
  GgufBuilder builder = SmallLlamaGguf();
  builder.U32("general.alignment", 128);
  builder.alignment = 128;
  builder.data_bytes = 128 + 32;
  const TempFolder folder;
  const auto reader = OpenGguf(folder, builder);
  const std::string file = builder.Build();
  const absl::StatusOr<TensorView> first = reader->Tensor("token_embd.weight");
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(reader->Tensor("output_norm.weight")->as<char>() - first->as<char>(), 128);
  EXPECT_EQ(first->as<char>()[0], '\x3c');
}

TEST(GgufReaderTest, ReadsHyperParametersOfAQuantisedFile) {
  const auto reader = Open(Tiny("llama_tied_q8_0_gguf/model.gguf"));
  EXPECT_EQ(reader->config().name, "tiny");
  EXPECT_EQ(reader->config().num_key_value_heads, 2);
  EXPECT_EQ(reader->config().bos_token_id, 394);
  EXPECT_EQ(reader->Tensor("blk.1.ffn_down.weight")->dtype, DType::kQ8_0);
  EXPECT_EQ(reader->Tensor("blk.1.attn_k.weight")->shape, Shape({32, 64}));
}

TEST(GgufReaderTest, AFolderWithOneFileIsThatModel) {
  const TempFolder folder;
  const std::string path = folder.Write("m.gguf", SmallLlamaGguf().Build());
  folder.Write("README.md", "about it");
  const auto reader = Open(folder.path());
  EXPECT_EQ(reader->format(), CheckpointFormat::kGguf);
  EXPECT_EQ(reader->path(), path);
}

TEST(SafetensorsReaderTest, ReadsFolderOrFile) {
  const TempFolder folder;
  const std::string file = folder.Write("model.safetensors", SafetensorsFile(kSmallHeader, 96));
  folder.Write("config.json", kSmallConfig);
  for (const std::string& path : {folder.path(), file}) {
    const auto reader = Open(path);
    EXPECT_EQ(reader->path(), path);
    EXPECT_EQ(reader->format(), CheckpointFormat::kSafetensors);
    ASSERT_EQ(reader->tensors().size(), 2u);
    EXPECT_EQ(reader->Tensor("model.embed_tokens.weight")->dtype, DType::kBF16);
    EXPECT_EQ(reader->Tensor("model.embed_tokens.weight")->shape, Shape({4, 8}));
    EXPECT_EQ(reader->Tensor("x").status().code(), absl::StatusCode::kNotFound);
    EXPECT_THAT(reader->config().eos_token_ids, ElementsAre(2, 3));
    EXPECT_EQ(reader->config().head_dim, 4);
  }
}

TEST(SafetensorsReaderTest, FollowsTheIndexToEveryShard) {
  const auto reader = Open(Tiny("llama_untied_scaled_sharded"));
  EXPECT_EQ(reader->tensors().size(), 21u);
  for (const TensorInfo& info : reader->tensors()) {
    const absl::StatusOr<TensorView> view = reader->Tensor(info.name);
    ASSERT_TRUE(view.ok()) << info.name;
    EXPECT_EQ(view->dtype, DType::kBF16);
  }
  ASSERT_TRUE(reader->config().rope_scaling.has_value());
  EXPECT_EQ(reader->config().rope_scaling->type, "llama3");
  EXPECT_EQ(reader->config().rope_scaling->original_max_position_embeddings, 64);
  EXPECT_FALSE(reader->config().tie_word_embeddings);
}

TEST(SafetensorsReaderTest, TensorsDecideOnTyingWhereTheConfigIsSilent) {
  const TempFolder folder;
  folder.Write("model.safetensors", SafetensorsFile(kSmallHeader, 96));
  folder.Write("config.json", ConfigWith("\"tie_word_embeddings\": true,", ""));
  EXPECT_TRUE(Open(folder.path())->config().tie_word_embeddings);
}

TEST(SafetensorsReaderTest, GenerationConfigAddsDefaults) {
  const TempFolder folder;
  folder.Write("model.safetensors", SafetensorsFile(kSmallHeader, 96));
  folder.Write("config.json", kSmallConfig);
  folder.Write("generation_config.json",
               R"({"eos_token_id": [1, 2], "temperature": 0.7, "top_p": 0.8, "top_k": 20,)"
               R"( "repetition_penalty": 1.1})");
  const auto reader = Open(folder.path());
  EXPECT_EQ(reader->config().default_temperature, 0.7);
  EXPECT_EQ(reader->config().default_top_p, 0.8);
  EXPECT_EQ(reader->config().default_top_k, 20);
  EXPECT_EQ(reader->config().default_repetition_penalty, 1.1);
  EXPECT_THAT(reader->config().eos_token_ids, ::testing::IsSupersetOf({1, 2}));
}

TEST(SafetensorsReaderTest, ReadsLatentAttention) {
  const Config config = Open(Tiny("mla_q_lora"))->config();
  EXPECT_EQ(config.kv_lora_rank, 32);
  EXPECT_EQ(config.q_lora_rank, 24);
  EXPECT_EQ(config.qk_nope_head_dim, 16);
  EXPECT_EQ(config.qk_rope_head_dim, 8);
  EXPECT_EQ(config.v_head_dim, 12);
  EXPECT_TRUE(config.rope_interleave);
  EXPECT_EQ(Open(Tiny("mla"))->config().q_lora_rank, 0);
  EXPECT_EQ(Open(Tiny("qwen2"))->config().kv_lora_rank, 0);
}

// Tensors stay valid as long as someone holds the reader.
TEST(CheckpointTest, TensorsOutliveTheFilesNames) {
  const TempFolder folder;
  folder.Write("model.safetensors", SafetensorsFile(kSmallHeader, 96));
  folder.Write("config.json", kSmallConfig);
  const auto reader = Open(folder.path());
  const absl::StatusOr<TensorView> view = reader->Tensor("model.norm.weight");
  ASSERT_TRUE(PosixFileSystem()->Remove(folder.path()).ok());
  EXPECT_EQ(view->as<char>()[31], '\x3c');
}

}  // namespace
}  // namespace transmla
