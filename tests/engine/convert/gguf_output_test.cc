// Conversions that are written as GGUF, from end to end, through files.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "engine/base/check.h"
#include "engine/base/random.h"
#include "engine/convert/evaluate.h"
#include "engine/convert/loaded_model.h"
#include "engine/convert/pipeline.h"
#include "engine/convert/source_weights.h"
#include "engine/format/gguf_header.h"
#include "engine/format/gguf_reader.h"
#include "engine/tokenizer/load.h"
#include "tests/engine/convert/named_tokenizer.h"
#include "tests/engine/convert/tiny_conversion.h"
#include "tests/testing/temp_folder.h"

namespace transmla {
namespace {

using ::testing::HasSubstr;
using testing::kTinyLayers;
using testing::kTinyWidth;
using ::testing::Pair;
using testing::TempFolder;
using testing::TinyContext;
using testing::TinyModel;
using testing::TinyOptions;
using ::testing::UnorderedElementsAre;

ConvertOptions GgufOptions(absl::string_view model, const std::string& destination) {
  ConvertOptions options = TinyOptions(model, destination);
  options.format = OutputFormat::kGguf;
  return options;
}

std::shared_ptr<const GgufReader> OpenGguf(const std::string& path) {
  auto reader = GgufReader::Open(*PosixFileSystem(), path);
  CHECK_OK(reader.status());
  return *std::move(reader);
}

std::string BytesOf(const CheckpointReader& reader, const std::string& tensor) {
  const absl::StatusOr<TensorView> view = reader.Tensor(tensor);
  CHECK_OK(view.status());
  return {view->as<char>(), static_cast<size_t>(view->bytes())};
}

// An entry as a file holds it.
std::string BytesOf(const GgufMetadata& metadata, absl::string_view key) {
  const GgufEntry entries[] = {{std::string(key), *metadata.Find(key)}};
  const absl::StatusOr<GgufHeader> header = EncodeGgufHeader(entries, {});
  CHECK_OK(header.status());
  return header->bytes;
}

LoadedModel Load(const std::string& path) {
  auto checkpoint = OpenCheckpoint(path);
  CHECK_OK(checkpoint.status());
  StepLimits limits = EvaluationLimits(40);
  limits.expanded_attention = true;
  auto model = LoadModel(TinyContext(), *std::move(checkpoint), limits);
  CHECK_OK(model.status());
  return *std::move(model);
}

QualityReport Compare(const std::string& source, const std::string& result,
                      bool expanded_result = false) {
  Random random(3);
  std::vector<std::vector<int32_t>> sequences(2, std::vector<int32_t>(40));
  for (std::vector<int32_t>& ids : sequences) {
    for (int32_t& id : ids) id = static_cast<int32_t>(random.Below(400));
  }
  const LoadedModel a = Load(source), b = Load(result);
  auto quality =
      CompareModels({a.decoder.get(), a.backend.get()},
                    {b.decoder.get(), b.backend.get(), expanded_result}, sequences, DType::kF32);
  CHECK_OK(quality.status());
  return *quality;
}

class GgufSourceTest : public ::testing::TestWithParam<const char*> {};

TEST_P(GgufSourceTest, WhatIsNotAttentionIsTheSourcesOwnBytes) {
  const TempFolder folder;
  const ConvertOptions options = GgufOptions(GetParam(), folder.File("model"));
  const absl::StatusOr<ConversionReport> report = Convert(options, TinyContext());
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_THAT(*PosixFileSystem()->List(options.destination),
              ::testing::ElementsAre("model.gguf", "transmla_report.html", "transmla_report.json"));
  const auto source = OpenGguf(options.source);
  const auto result = OpenGguf(folder.File("model/model.gguf"));
  size_t kept = 0, attention = 0;
  for (const TensorInfo& info : source->tensors()) {
    const bool replaced = absl::StrContains(info.name, ".attn_q.") ||
                          absl::StrContains(info.name, ".attn_k.") ||
                          absl::StrContains(info.name, ".attn_v.");
    if (replaced || info.name == "rope_freqs.weight") continue;
    const absl::StatusOr<TensorView> view = result->Tensor(info.name);
    ASSERT_TRUE(view.ok()) << view.status();
    EXPECT_EQ(view->dtype, info.dtype) << info.name;
    EXPECT_EQ(view->shape, info.shape) << info.name;
    EXPECT_EQ(BytesOf(*result, info.name), BytesOf(*source, info.name)) << info.name;
    ++kept;
  }
  for (const TensorInfo& info : result->tensors()) attention += !source->Has(info.name);
  // attn_q is there under its own name, with other rows.
  EXPECT_EQ(attention, 4u * kTinyLayers);
  EXPECT_EQ(result->tensors().size(), kept + 5 * kTinyLayers);
}

TEST_P(GgufSourceTest, MetadataAreTheSourcesUnderOurArchitecture) {
  const TempFolder folder;
  ConvertOptions options = GgufOptions(GetParam(), folder.File("model"));
  options.evaluation_sequences = 0;
  ASSERT_TRUE(Convert(options, TinyContext()).ok());
  const auto source = OpenGguf(options.source);
  const auto result = OpenGguf(folder.File("model/model.gguf"));
  EXPECT_EQ(*result->metadata().GetString("general.architecture"), "transmla");
  size_t copied = 0;
  for (const absl::string_view key : source->metadata().keys()) {
    EXPECT_FALSE(result->metadata().Has(key) && absl::StartsWith(key, "llama.")) << key;
    if (key == "general.architecture" || absl::StartsWith(key, "llama.")) continue;
    ASSERT_TRUE(result->metadata().Has(key)) << key;
    EXPECT_EQ(BytesOf(result->metadata(), key), BytesOf(source->metadata(), key)) << key;
    ++copied;
  }
  EXPECT_GT(copied, 8u);  // the tokenizer alone has as many
  const Config& from = source->config();
  const Config& to = result->config();
  EXPECT_EQ(to.name, from.name);
  EXPECT_EQ(to.vocab_size, from.vocab_size);
  EXPECT_EQ(to.intermediate_size, from.intermediate_size);
  EXPECT_EQ(to.max_position_embeddings, from.max_position_embeddings);
  EXPECT_EQ(to.rms_norm_eps, from.rms_norm_eps);
  EXPECT_EQ(to.rope_theta, from.rope_theta);
  EXPECT_EQ(to.tie_word_embeddings, from.tie_word_embeddings);
  EXPECT_EQ(to.eos_token_ids, from.eos_token_ids);
  EXPECT_EQ(to.bos_token_id, from.bos_token_id);
  EXPECT_EQ(to.n_routed_experts, from.n_routed_experts);
  EXPECT_EQ(to.num_experts_per_tok, from.num_experts_per_tok);
  EXPECT_EQ(to.norm_topk_prob, from.n_routed_experts > 0);
  EXPECT_EQ(to.num_attention_heads, 4);
  EXPECT_EQ(to.kv_lora_rank, 24);
  EXPECT_EQ(to.q_lora_rank, 0);
  EXPECT_EQ(to.qk_rope_head_dim, 8);
  EXPECT_EQ(to.qk_nope_head_dim, 16);
  EXPECT_EQ(to.v_head_dim, 16);
  EXPECT_FALSE(to.has_latent_norm);
  EXPECT_EQ(to.source_cache_values_per_token, 2 * kTinyWidth);
}

// By its folder and by its file.
TEST_P(GgufSourceTest, ItLoads) {
  const TempFolder folder;
  ConvertOptions options = GgufOptions(GetParam(), folder.File("model"));
  options.q_lora_rank = 40;
  options.recipe = Recipe::kBest;  // with biases of the latent and of the output
  const absl::StatusOr<ConversionReport> report = Convert(options, TinyContext());
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_GT(report->quality->kl_divergence, 0);
  for (const std::string& path : {folder.File("model"), folder.File("model/model.gguf")}) {
    const ModelSpec spec = Load(path).decoder->spec();
    EXPECT_EQ(spec.family, "transmla");
    EXPECT_EQ(spec.mla.q_lora_rank, 40);
    EXPECT_TRUE(spec.output_bias);
    EXPECT_EQ(spec.source_cache_values, 2 * kTinyWidth);
    const absl::StatusOr<LoadedTokenizer> tokenizer = LoadTokenizer(**OpenCheckpoint(path));
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    EXPECT_NE(tokenizer->chat_template, nullptr);
  }
}

// The report compares the source with the file that was written.
TEST_P(GgufSourceTest, WithoutLossItGivesTheSourcesLogits) {
  const TempFolder folder;
  for (const Recipe recipe : {Recipe::kEquivalent, Recipe::kBest}) {
    SCOPED_TRACE(RecipeName(recipe));
    ConvertOptions options = GgufOptions(GetParam(), folder.File(RecipeName(recipe)));
    options.recipe = recipe;
    options.qk_rope_head_dim = kTinyWidth;
    options.kv_lora_rank = kTinyWidth;
    options.dtype = DType::kF32;
    const absl::StatusOr<ConversionReport> report = Convert(options, TinyContext());
    ASSERT_TRUE(report.ok()) << report.status();
    // As for the folder (pipeline_test.cc).
    EXPECT_LT(report->quality->max_logit_difference, 5e-4);
    EXPECT_EQ(report->quality->greedy_agreement, 1);
  }
}

TEST_P(GgufSourceTest, ItComputesWhatTheFolderDoes) {
  const TempFolder folder;
  for (const OutputFormat format : {OutputFormat::kTransMla, OutputFormat::kGguf}) {
    for (const int q_lora_rank : {0, 40}) {
      ConvertOptions options =
          GgufOptions(GetParam(), folder.File(absl::StrCat(OutputFormatName(format), q_lora_rank)));
      options.format = format;
      options.q_lora_rank = q_lora_rank;
      options.dtype = DType::kF32;
      options.evaluation_sequences = 0;
      ASSERT_TRUE(Convert(options, TinyContext()).ok());
    }
  }
  // The same weights, attention in F32 in both; what the folder has decoded is decoded by kernels,
  // whose sums run in another order.
  EXPECT_LT(Compare(folder.File("transmla0"), folder.File("gguf0")).max_logit_difference, 2e-4);
  EXPECT_LT(Compare(folder.File("transmla40"), folder.File("gguf40")).max_logit_difference, 2e-4);
  // Over keys and values of every head: W_UK is transposed in a GGUF file, and part of a matrix in
  // a folder's.
  for (const char* name : {"transmla0", "gguf0"}) {
    EXPECT_LT(Compare(folder.File(name), folder.File(name), /*expanded_result=*/true)
                  .max_logit_difference,
              2e-4);
  }
}

// 8-bit attention is a rounding of up to 1/254 of each block's largest weight, 16-bit of 1/512 of
// each: a few times what that gives. A router may turn to another expert by it: a nat or so at one
// or two of the 78 positions.
TEST_P(GgufSourceTest, RoundedTypesComeClose) {
  const bool routed = absl::StartsWith(GetParam(), "mixtral");
  const TempFolder folder;
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0}) {
    ConvertOptions options = GgufOptions(GetParam(), folder.File(DTypeName(dtype)));
    options.dtype = dtype;
    options.evaluation_sequences = 0;
    ASSERT_TRUE(Convert(options, TinyContext()).ok());
    const QualityReport quality = Compare(folder.File("f32"), folder.File(DTypeName(dtype)));
    EXPECT_LT(quality.kl_divergence, routed ? 0.025 : 0.002) << DTypeName(dtype);
    EXPECT_GT(quality.greedy_agreement, 0.9) << DTypeName(dtype);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, GgufSourceTest,
                         ::testing::Values("llama_tied_q8_0_gguf/model.gguf",
                                           "llama_untied_scaled_f16_gguf/model.gguf",
                                           "mixtral_q8_0_gguf/model.gguf"),
                         [](const auto& tested) {
                           const std::string name = tested.param;
                           return name.substr(0, name.find('/'));
                         });

// Models with what DeepSeek's have no place for. That they compute the same, feature_test.cc shows.
class GgufFamilyTest : public ::testing::TestWithParam<const char*> {};

TEST_P(GgufFamilyTest, WhatIsNotAttentionIsTheSourcesOwnBytes) {
  const TempFolder folder;
  ConvertOptions options = GgufOptions(GetParam(), folder.File("model"));
  options.recipe = Recipe::kEquivalent;
  options.evaluation_sequences = 0;
  const absl::StatusOr<ConversionReport> report = Convert(options, TinyContext());
  ASSERT_TRUE(report.ok()) << report.status();
  const auto source = OpenGguf(options.source);
  const auto result = OpenGguf(folder.File("model/model.gguf"));
  const absl::StatusOr<ModelSpec> spec = ReadModelSpec(*source);
  ASSERT_TRUE(spec.ok()) << spec.status();
  for (const TensorInfo& info : source->tensors()) {
    const bool attention =
        absl::StrContains(info.name, ".attn_qkv.") || absl::StrContains(info.name, ".attn_q.") ||
        absl::StrContains(info.name, ".attn_k.") || absl::StrContains(info.name, ".attn_v.");
    // Behind norms of heads, which are not linear, the source's projections stay.
    if (attention && !spec->qk_norm) continue;
    if (absl::StartsWith(info.name, "rope_factors_")) continue;
    if (spec->family == "phi3" && absl::StrContains(info.name, ".ffn_up.")) {
      const std::string gate = absl::StrReplaceAll(info.name, {{"ffn_up", "ffn_gate"}});
      EXPECT_EQ(BytesOf(*result, gate) + BytesOf(*result, info.name), BytesOf(*source, info.name));
      continue;
    }
    const absl::StatusOr<TensorView> view = result->Tensor(info.name);
    ASSERT_TRUE(view.ok()) << view.status();
    EXPECT_EQ(view->dtype, info.dtype) << info.name;
    EXPECT_EQ(view->shape, info.shape) << info.name;
    EXPECT_EQ(BytesOf(*result, info.name), BytesOf(*source, info.name)) << info.name;
  }
}

// Maps behind norms run unquantised; the default otherwise is Q8_0, where rows are whole blocks.
TEST_P(GgufFamilyTest, TypesAreTheReports) {
  const TempFolder folder;
  ConvertOptions options = GgufOptions(GetParam(), folder.File("model"));
  options.recipe = Recipe::kBest;
  options.qk_rope_head_dim = 6;
  options.kv_lora_rank = 11;
  options.evaluation_sequences = 0;
  const absl::StatusOr<ConversionReport> report = Convert(options, TinyContext());
  ASSERT_TRUE(report.ok()) << report.status();
  const auto result = OpenGguf(folder.File("model/model.gguf"));
  EXPECT_EQ(report->matrix_types.contains("attn_q_b"), result->Has("blk.0.attn_q_norm.weight"));
  for (const auto& [name, type] : report->matrix_types) {
    const absl::StatusOr<TensorView> view = result->Tensor(absl::StrCat("blk.1.", name, ".weight"));
    ASSERT_TRUE(view.ok()) << view.status();
    EXPECT_EQ(DTypeName(view->dtype), type) << name;
    EXPECT_EQ(type, "bf16") << name;  // no row here is a multiple of 32
  }
}

INSTANTIATE_TEST_SUITE_P(Models, GgufFamilyTest,
                         ::testing::Values("mistral_gguf/model.gguf", "qwen3_gguf/model.gguf",
                                           "qwen3_moe_gguf/model.gguf", "phi3_gguf/model.gguf",
                                           "phi3_longrope_gguf/model.gguf",
                                           "gemma2_gguf/model.gguf", "gemma3_gguf/model.gguf"),
                         [](const auto& tested) {
                           const std::string name = tested.param;
                           return name.substr(0, name.find('/'));
                         });

constexpr char kModel[] = "llama_tied_q8_0_gguf/model.gguf";

// Hugging Face folders. That they compute the same, feature_test.cc shows.
std::shared_ptr<const CheckpointReader> OpenFolder(const std::string& path) {
  auto reader = OpenCheckpoint(path);
  CHECK_OK(reader.status());
  return *std::move(reader);
}

std::shared_ptr<const GgufReader> ConvertFolder(const std::string& source,
                                                const TempFolder& folder) {
  ConvertOptions options = GgufOptions("", folder.File("model"));
  options.source = source;
  options.recipe = Recipe::kEquivalent;
  options.evaluation_sequences = 0;
  options.overwrite = true;
  CHECK_OK(Convert(options, TinyContext()).status());
  return OpenGguf(folder.File("model/model.gguf"));
}

void ExpectSameTensor(const CheckpointReader& a, const std::string& in_a, const CheckpointReader& b,
                      const std::string& in_b) {
  EXPECT_EQ(a.Tensor(in_a)->dtype, b.Tensor(in_b)->dtype) << in_b;
  EXPECT_EQ(a.Tensor(in_a)->shape, b.Tensor(in_b)->shape) << in_b;
  EXPECT_EQ(BytesOf(a, in_a), BytesOf(b, in_b)) << in_b;
}

TEST(GgufFromFolderTest, WhatIsNotAttentionIsTheSourcesOwnBytes) {
  for (const char* model : {"llama_untied_scaled_sharded", "qwen2", "qwen3", "llama_tied"}) {
    SCOPED_TRACE(model);
    const TempFolder folder;
    const std::string path = testing::WithNamedTokenizer(model, folder);
    const auto source = OpenFolder(path);
    const auto result = ConvertFolder(path, folder);
    ExpectSameTensor(*source, "model.embed_tokens.weight", *result, "token_embd.weight");
    ExpectSameTensor(*source, "model.norm.weight", *result, "output_norm.weight");
    EXPECT_EQ(result->Has("output.weight"), !source->config().tie_word_embeddings);
    const auto expect_layer = [&](const char* theirs, const char* ours) {
      ExpectSameTensor(*source, absl::StrCat("model.layers.1.", theirs, ".weight"), *result,
                       absl::StrCat("blk.1.", ours, ".weight"));
    };
    expect_layer("input_layernorm", "attn_norm");
    expect_layer("post_attention_layernorm", "ffn_norm");
    expect_layer("self_attn.o_proj", "attn_output");
    expect_layer("mlp.gate_proj", "ffn_gate");
    expect_layer("mlp.up_proj", "ffn_up");
    expect_layer("mlp.down_proj", "ffn_down");
    if (result->config().source_head_dim == 0) continue;
    expect_layer("self_attn.q_proj", "attn_q");
    expect_layer("self_attn.k_proj", "attn_k");
    expect_layer("self_attn.v_proj", "attn_v");
    expect_layer("self_attn.q_norm", "attn_q_norm");
  }
}

TEST(GgufFromFolderTest, WhatStandsTogetherOrApartIsPutApartOrTogether) {
  const TempFolder folder;
  const std::string mixtral = testing::WithNamedTokenizer("mixtral", folder);
  auto source = OpenFolder(mixtral);
  auto result = ConvertFolder(mixtral, folder);
  std::string experts;
  for (int e = 0; e < 5; ++e) {
    experts +=
        BytesOf(*source, absl::StrCat("model.layers.1.block_sparse_moe.experts.", e, ".w2.weight"));
  }
  EXPECT_EQ(BytesOf(*result, "blk.1.ffn_down_exps.weight"), experts);
  EXPECT_EQ(result->Tensor("blk.1.ffn_down_exps.weight")->shape, Shape({5, 64, 32}));
  const std::string phi3 = testing::WithNamedTokenizer("phi3", folder);
  source = OpenFolder(phi3);
  result = ConvertFolder(phi3, folder);
  EXPECT_EQ(BytesOf(*result, "blk.1.ffn_gate.weight") + BytesOf(*result, "blk.1.ffn_up.weight"),
            BytesOf(*source, "model.layers.1.mlp.gate_up_proj.weight"));
}

// Gemma's norms multiply by 1 + weight; in GGUF the 1 is added.
TEST(GgufFromFolderTest, NormsThatStoreTheirWeightsLess1AreAddedUp) {
  const TempFolder folder;
  const std::string path = testing::WithNamedTokenizer("gemma2", folder);
  const auto source = OpenFolder(path);
  const auto result = ConvertFolder(path, folder);
  const absl::StatusOr<std::vector<float>> less =
      DecodeFinite(*source->Tensor("model.layers.1.post_feedforward_layernorm.weight"), "norm");
  const absl::StatusOr<TensorView> norm = result->Tensor("blk.1.post_ffw_norm.weight");
  ASSERT_TRUE(less.ok() && norm.ok()) << less.status() << norm.status();
  EXPECT_EQ(norm->dtype, DType::kF32);
  for (size_t i = 0; i < less->size(); ++i) EXPECT_EQ(norm->as<float>()[i], (*less)[i] + 1);
}

TEST(GgufFromFolderTest, TheTokenizerGivesTheSameIds) {
  const TempFolder folder;
  const std::string path = testing::WithNamedTokenizer("llama_tied", folder);
  const auto result = ConvertFolder(path, folder);
  EXPECT_EQ(*result->metadata().GetString("tokenizer.ggml.pre"), "llama-bpe");
  EXPECT_EQ(*result->metadata().GetString("general.name"), "llama_tied-named");
  EXPECT_EQ(result->config().eos_token_ids, OpenFolder(path)->config().eos_token_ids);
  EXPECT_EQ(result->config().bos_token_id, OpenFolder(path)->config().bos_token_id);
  const absl::StatusOr<LoadedTokenizer> from = LoadTokenizer(*OpenFolder(path));
  const absl::StatusOr<LoadedTokenizer> to = LoadTokenizer(*result);
  ASSERT_TRUE(from.ok() && to.ok()) << from.status() << to.status();
  EXPECT_EQ(to->chat_template->source(), from->chat_template->source());
  EXPECT_EQ(to->tokenizer->vocab_size(), from->tokenizer->vocab_size());
  EXPECT_EQ(to->tokenizer->bos(), from->tokenizer->bos());
  EXPECT_EQ(to->tokenizer->eos(), from->tokenizer->eos());
  for (const char* text : {"", "The year 1234567 was  not\n\n good.", "e\u0301t\u00e9 \U0001F600",
                           "<|im_start|>user<tool>x</tool><|im_end|>"}) {
    for (const bool parse_special : {false, true}) {
      const EncodeOptions options = {.add_bos = true, .parse_special = parse_special};
      EXPECT_EQ(*to->tokenizer->Encode(text, options), *from->tokenizer->Encode(text, options))
          << text;
    }
  }
}

// llama.cpp wants vectors in float32.
TEST(GgufFromFolderTest, Deepseek2ComputesTheSame) {
  const TempFolder folder;
  ConvertOptions options = GgufOptions("", folder.File("gguf"));
  options.source = testing::WithNamedTokenizer("llama_tied", folder);
  options.dtype = DType::kF32;
  options.evaluation_sequences = 0;
  ASSERT_TRUE(Convert(options, TinyContext()).ok());
  options.destination = folder.File("deepseek2");
  options.format = OutputFormat::kGgufDeepseek2;
  const absl::StatusOr<ConversionReport> report = Convert(options, TinyContext());
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_LT(Compare(folder.File("gguf"), folder.File("deepseek2")).max_logit_difference, 2e-4);
}

// Experts of two types cannot be one tensor.
TEST(GgufFromFolderTest, ExpertsMustBeAlike) {
  const TempFolder folder;
  const std::string path = testing::WithNamedTokenizer("mixtral", folder);
  std::string weights = folder.Read("mixtral-named/model.safetensors");
  const std::string name = "experts.3.w1.weight\":{\"dtype\":\"BF16\"";
  const size_t at = weights.find(name);
  ASSERT_NE(at, std::string::npos);
  weights.replace(at, name.size(), "experts.3.w1.weight\":{\"dtype\":\"F16\" ");
  folder.Write("mixtral-named/model.safetensors", weights);
  ConvertOptions options = GgufOptions("", folder.File("model"));
  options.source = path;
  options.recipe = Recipe::kEquivalent;
  options.evaluation_sequences = 0;
  const absl::Status status = Convert(options, TinyContext()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("experts.3.w1.weight is f16 [32, 64], but"));
}

TEST(GgufOutputTest, RowsThatAreNoBlocksAreWrittenInTwoBytes) {
  const TempFolder folder;
  ConvertOptions options = GgufOptions(kModel, folder.File("model"));
  options.q_lora_rank = 40;
  options.evaluation_sequences = 0;
  const absl::StatusOr<ConversionReport> report = Convert(options, TinyContext());
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->format, "gguf");
  EXPECT_EQ(report->dtype, "q8_0");
  // Rows of 64, but of 40 from the query's low rank. W_UK and W_UV run unquantised.
  EXPECT_THAT(report->matrix_types,
              UnorderedElementsAre(Pair("attn_q_a", "q8_0"), Pair("attn_q_b", "bf16"),
                                   Pair("attn_kv_a_mqa", "q8_0"), Pair("attn_k_b", "bf16"),
                                   Pair("attn_v_b", "bf16")));
  const auto result = OpenGguf(folder.File("model/model.gguf"));
  for (const auto& [name, type] : report->matrix_types) {
    EXPECT_EQ(DTypeName(result->Tensor(absl::StrCat("blk.1.", name, ".weight"))->dtype), type);
  }
  EXPECT_EQ(result->Tensor("blk.1.rope_inv_freq.weight")->dtype, DType::kF32);
  EXPECT_THAT(report->ToText(), HasSubstr("attn_q_b bf16"));
  EXPECT_THAT(report->ToJson(), HasSubstr("\"attn_q_b\": \"bf16\""));
}

// Its norms of latents change nothing, and its base gives the frequencies that are stored
// elsewhere.
TEST(GgufOutputTest, Deepseek2ComputesTheSame) {
  const TempFolder folder;
  for (const OutputFormat format : {OutputFormat::kGguf, OutputFormat::kGgufDeepseek2}) {
    for (const int q_lora_rank : {0, 40}) {
      ConvertOptions options =
          GgufOptions(kModel, folder.File(absl::StrCat(OutputFormatName(format), q_lora_rank)));
      options.format = format;
      options.q_lora_rank = q_lora_rank;
      options.dtype = DType::kF32;
      options.evaluation_sequences = 0;
      const absl::StatusOr<ConversionReport> report = Convert(options, TinyContext());
      ASSERT_TRUE(report.ok()) << report.status();
    }
  }
  const auto result = OpenGguf(folder.File("gguf-deepseek240/model.gguf"));
  EXPECT_EQ(result->config().architecture, "deepseek2");
  EXPECT_TRUE(result->config().has_latent_norm);
  EXPECT_EQ(*result->metadata().GetInt("deepseek2.leading_dense_block_count", 0, 9), kTinyLayers);
  EXPECT_FALSE(result->Has("blk.0.rope_inv_freq.weight"));
  EXPECT_TRUE(result->Has("blk.0.attn_q_a_norm.weight"));
  // Roundings of one multiplication, and of powers of the base.
  for (const char* rank : {"0", "40"}) {
    EXPECT_LT(Compare(folder.File(absl::StrCat("gguf", rank)),
                      folder.File(absl::StrCat("gguf-deepseek2", rank)))
                  .max_logit_difference,
              2e-4)
        << rank;
  }
}

// Whatever type is asked for, no weight of a shrunk latent is lost to its range.
TEST(GgufOutputTest, Deepseek2KeepsLatentsInAWideType) {
  const TempFolder folder;
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0}) {
    ConvertOptions options = GgufOptions(kModel, folder.File(DTypeName(dtype)));
    options.format = OutputFormat::kGgufDeepseek2;
    options.dtype = dtype;
    options.evaluation_sequences = 0;
    const absl::StatusOr<ConversionReport> report = Convert(options, TinyContext());
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_EQ(report->matrix_types.at("attn_kv_a_mqa"), dtype == DType::kF32 ? "f32" : "bf16");
    EXPECT_LT(Compare(folder.File("f32"), folder.File(DTypeName(dtype))).kl_divergence, 0.002);
  }
}

TEST(GgufOutputTest, Deepseek2SaysWhatItHasNoPlaceFor) {
  const auto refused = [](absl::string_view model, Recipe recipe) {
    ConvertOptions options = GgufOptions(model, "unused");
    options.format = OutputFormat::kGgufDeepseek2;
    options.recipe = recipe;
    const absl::Status status = PlanConversion(options).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << status;
    return std::string(status.message());
  };
  EXPECT_THAT(refused(kModel, Recipe::kBest), HasSubstr("biases of latents"));
  EXPECT_THAT(refused(kModel, Recipe::kEquivalent), HasSubstr("heads that are all RoPE"));
  EXPECT_THAT(refused("mixtral_q8_0_gguf/model.gguf", Recipe::kTransMla), HasSubstr("experts"));
  EXPECT_THAT(refused("llama_untied_scaled_f16_gguf/model.gguf", Recipe::kTransMla),
              HasSubstr("scaled RoPE"));
  EXPECT_THAT(refused("mistral_gguf/model.gguf", Recipe::kTransMla),
              HasSubstr("no place for a sliding window"));
  EXPECT_THAT(refused("qwen3_gguf/model.gguf", Recipe::kTransMla),
              HasSubstr("no place for norms of queries and keys"));
  EXPECT_THAT(refused("gemma2_gguf/model.gguf", Recipe::kTransMla),
              HasSubstr("no place for a sliding window"));
  EXPECT_THAT(refused("phi3_longrope_gguf/model.gguf", Recipe::kTransMla),
              HasSubstr("no place for scaled RoPE"));
  EXPECT_THAT(refused("llama_tied", Recipe::kTransMla), HasSubstr("GGUF cannot say"));
}

TEST(GgufOutputTest, SameSeedGivesTheSameBytes) {
  const TempFolder folder;
  std::string first;
  for (const uint64_t seed : {7, 7, 8}) {
    ConvertOptions options = GgufOptions(kModel, folder.File("model"));
    options.seed = seed;
    options.overwrite = true;
    const absl::StatusOr<ConversionReport> report = Convert(options, TinyContext());
    ASSERT_TRUE(report.ok()) << report.status();
    const std::string bytes = folder.Read("model/model.gguf");
    if (first.empty()) first = bytes;
    EXPECT_EQ(bytes == first, seed == 7) << "seed " << seed;
  }
}

// The tiny models' own tokenizer, Llama 3's behind a normalizer.
TEST(GgufOutputTest, TokenizersWithoutANameAreRefusedBeforeAnythingIsDone) {
  const TempFolder folder;
  const ConvertOptions options = GgufOptions("llama_tied", folder.File("model"));
  for (const absl::Status& status :
       {Convert(options, TinyContext()).status(), PlanConversion(options).status()}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("llama_tied/tokenizer.json"));
    EXPECT_THAT(std::string(status.message()), HasSubstr("GGUF cannot say"));
  }
  EXPECT_EQ(folder.Count(), 0);
}

TEST(GgufOutputTest, DamagedWeightsAreNamed) {
  const TempFolder folder;
  const auto source = OpenGguf(TinyModel(kModel));
  const std::string norm = BytesOf(*source, "blk.1.ffn_norm.weight");
  auto file = PosixFileSystem()->Map(TinyModel(kModel));
  ASSERT_TRUE(file.ok());
  std::string damaged((*file)->bytes());
  const size_t at = damaged.find(norm);
  ASSERT_NE(at, std::string::npos);
  damaged.replace(at, 4, std::string("\x00\x00\xc0\x7f", 4));
  ConvertOptions options = GgufOptions(kModel, folder.File("model"));
  options.source = folder.Write("source.gguf", damaged);
  options.recipe = Recipe::kEquivalent;
  options.evaluation_sequences = 0;
  const absl::Status status = Convert(options, TinyContext()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("blk.1.ffn_norm.weight"));
  EXPECT_EQ(folder.Count(), 1);  // the source
}

TEST(GgufOutputTest, ATypeThatNoWeightIsWrittenAsIsRefused) {
  ConvertOptions options = GgufOptions(kModel, "unused");
  options.dtype = DType::kQ4_0;
  const absl::Status status = PlanConversion(options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("f32, f16, bf16 or q8_0"));
  options.dtype = DType::kQ8_0;
  EXPECT_TRUE(PlanConversion(options).ok());
  options.format = OutputFormat::kTransMla;
  EXPECT_THAT(std::string(PlanConversion(options).status().message()), HasSubstr("q8_0: as GGUF"));
}

}  // namespace
}  // namespace transmla
