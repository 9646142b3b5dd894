// LoadDecoder and ReadModelSpec: which checkpoints they take, and what they say about the others.
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "engine/backend/cpu/create.h"
#include "engine/base/check.h"
#include "engine/format/safetensors_writer.h"
#include "engine/model/decoder.h"
#include "tests/testing/gguf_builder.h"
#include "tests/testing/safetensors_builder.h"
#include "tests/testing/temp_folder.h"

namespace transmla {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using transmla::testing::ConfigWith;
using transmla::testing::GgufBuilder;
using transmla::testing::kSmallConfig;
using transmla::testing::SmallLlamaGguf;
using transmla::testing::TempFolder;

constexpr char kLayer[] = "model.layers.0.";

// Tensors by name, in the order of a file. Values are zero.
using Tensors = std::map<std::string, std::pair<DType, Shape>>;

// What kSmallConfig asks for.
Tensors SmallLlama() {
  const auto f32 = [](Shape shape) { return std::pair(DType::kF32, shape); };
  return {
      {"model.embed_tokens.weight", f32({4, 8})},
      {"model.norm.weight", f32({8})},
      {absl::StrCat(kLayer, "input_layernorm.weight"), f32({8})},
      {absl::StrCat(kLayer, "post_attention_layernorm.weight"), f32({8})},
      {absl::StrCat(kLayer, "self_attn.q_proj.weight"), f32({8, 8})},
      {absl::StrCat(kLayer, "self_attn.k_proj.weight"), f32({4, 8})},
      {absl::StrCat(kLayer, "self_attn.v_proj.weight"), f32({4, 8})},
      {absl::StrCat(kLayer, "self_attn.o_proj.weight"), f32({8, 8})},
      {absl::StrCat(kLayer, "mlp.gate_proj.weight"), f32({16, 8})},
      {absl::StrCat(kLayer, "mlp.up_proj.weight"), f32({16, 8})},
      {absl::StrCat(kLayer, "mlp.down_proj.weight"), f32({8, 16})},
  };
}

std::string LatentConfig(const std::string& more = "") {
  return ConfigWith(
      "\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\"",
      absl::StrCat(R"("architectures": ["DeepseekV3ForCausalLM"],)",
                   R"("model_type": "deepseek_v3", "kv_lora_rank": 6,)",
                   R"("qk_nope_head_dim": 3, "qk_rope_head_dim": 4,)", R"("v_head_dim": 5)", more));
}

// What LatentConfig asks for.
Tensors SmallLatent() {
  Tensors tensors = SmallLlama();
  for (const char* name : {"k_proj", "v_proj"}) {
    tensors.erase(absl::StrCat(kLayer, "self_attn.", name, ".weight"));
  }
  const auto put = [&](const char* name, Shape shape) {
    tensors[absl::StrCat(kLayer, "self_attn.", name, ".weight")] = {DType::kF32, shape};
  };
  put("q_proj", {2 * 7, 8});
  put("kv_a_proj_with_mqa", {6 + 4, 8});
  put("kv_a_layernorm", {6});
  put("kv_b_proj", {2 * 8, 6});
  put("o_proj", {8, 10});
  return tensors;
}

void WriteFolder(const TempFolder& folder, const std::string& config, const Tensors& tensors) {
  folder.Write("config.json", config);
  std::vector<TensorInfo> infos;
  for (const auto& [name, tensor] : tensors) infos.push_back({name, tensor.first, tensor.second});
  auto writer = SafetensorsWriter::Create(*PosixFileSystem(), folder.path(), infos, {});
  CHECK_OK(writer.status());
  for (const TensorInfo& info : infos) {
    const std::vector<char> zeros(info.shape.rows() * RowBytes(info.dtype, info.shape.cols()));
    CHECK_OK((*writer)->Append(info.name, {zeros.data(), info.dtype, info.shape}));
  }
  CHECK_OK((*writer)->Finish());
}

absl::Status Load(const std::string& path) {
  auto checkpoint = OpenCheckpoint(path);
  if (!checkpoint.ok()) return checkpoint.status();
  auto backend = CreateCpuBackend({.threads = 1});
  CHECK_OK(backend.status());
  return LoadDecoder(
             *checkpoint, backend->get(),
             {.max_tokens = 4, .max_sequences = 1, .max_logit_tokens = 4, .max_context_tokens = 64})
      .status();
}

absl::Status Load(const std::string& config, const Tensors& tensors) {
  const TempFolder folder;
  WriteFolder(folder, config, tensors);
  return Load(folder.path());
}

absl::StatusOr<ModelSpec> Spec(const std::string& config, const Tensors& tensors) {
  const TempFolder folder;
  WriteFolder(folder, config, tensors);
  const auto checkpoint = OpenCheckpoint(folder.path());
  if (!checkpoint.ok()) return checkpoint.status();
  return ReadModelSpec(**checkpoint);
}

MATCHER_P2(Fails, code, message, "") {
  *result_listener << arg.ToString();
  return arg.code() == code &&
         ExplainMatchResult(message, std::string(arg.message()), result_listener);
}
constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kUnimplemented = absl::StatusCode::kUnimplemented;

TEST(LoadTest, TakesWhatTheConfigAsksFor) {
  EXPECT_TRUE(Load(kSmallConfig, SmallLlama()).ok());
  EXPECT_TRUE(Load(LatentConfig(), SmallLatent()).ok());
}

TEST(LoadTest, ListsEveryProblemAtOnce) {
  Tensors tensors = SmallLlama();
  tensors.erase("model.norm.weight");
  tensors.erase(absl::StrCat(kLayer, "mlp.up_proj.weight"));
  tensors[absl::StrCat(kLayer, "self_attn.k_proj.weight")].second = {8, 8};
  tensors[absl::StrCat(kLayer, "self_attn.v_proj.weight")].first = DType::kI8;
  tensors["model.layers.1.input_layernorm.weight"] = {DType::kF32, {8}};
  EXPECT_THAT(
      Load(kSmallConfig, tensors),
      Fails(kInvalid,
            AllOf(HasSubstr("missing model.norm.weight [8]"),
                  HasSubstr("missing model.layers.0.mlp.up_proj.weight [16, 8]"),
                  HasSubstr("model.layers.0.self_attn.k_proj.weight is [8, 8], expected [4, 8]"),
                  HasSubstr("model.layers.0.self_attn.v_proj.weight has type i8"),
                  HasSubstr("unexpected model.layers.1.input_layernorm.weight [8]"),
                  Not(HasSubstr("q_proj")))));
}

TEST(LoadTest, CountsProblemsBeyondADozen) {
  Tensors tensors = SmallLlama();
  for (int i = 0; i < 20; ++i) tensors[absl::StrCat("extra.", i)] = {DType::kF32, {1}};
  EXPECT_THAT(Load(kSmallConfig, tensors), Fails(kInvalid, HasSubstr("and 8 more")));
}

TEST(LoadTest, UntiedModelsNeedAnOutputMatrix) {
  const std::string untied =
      ConfigWith("\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false");
  EXPECT_THAT(Load(untied, SmallLlama()), Fails(kInvalid, HasSubstr("missing lm_head.weight [4")));
  Tensors tensors = SmallLlama();
  tensors["lm_head.weight"] = {DType::kF32, {4, 8}};
  EXPECT_TRUE(Load(untied, tensors).ok());
  // Some tied checkpoints store the matrix twice.
  EXPECT_TRUE(Load(kSmallConfig, tensors).ok());
}

TEST(LoadTest, BiasesMustComeTogether) {
  Tensors tensors = SmallLlama();
  tensors[absl::StrCat(kLayer, "self_attn.q_proj.bias")] = {DType::kF32, {8}};
  EXPECT_THAT(Load(kSmallConfig, tensors),
              Fails(kInvalid, AllOf(HasSubstr("missing model.layers.0.self_attn.k_proj.bias [4]"),
                                    HasSubstr("missing model.layers.0.self_attn.v_proj.bias"))));
}

TEST(LoadTest, OldCheckpointsMayCarryFrequencies) {
  Tensors tensors = SmallLlama();
  tensors[absl::StrCat(kLayer, "self_attn.rotary_emb.inv_freq")] = {DType::kF32, {2}};
  EXPECT_TRUE(Load(kSmallConfig, tensors).ok());
}

TEST(LoadTest, UnknownArchitecturesNameTheKnownOnes) {
  EXPECT_THAT(Load(ConfigWith("LlamaForCausalLM", "MambaForCausalLM"), SmallLlama()),
              Fails(kUnimplemented,
                    AllOf(HasSubstr("\"MambaForCausalLM\""), HasSubstr("LlamaForCausalLM"),
                          HasSubstr("Qwen2ForCausalLM"), HasSubstr("TransMlaForCausalLM"))));
}

TEST(LoadTest, RefusesWhatTheForwardPassDoesNotCompute) {
  const auto with = [](const std::string& more) {
    return ConfigWith("\"model_type\": \"llama\"", "\"model_type\": \"llama\", " + more);
  };
  EXPECT_THAT(Load(with(R"("hidden_act": "gelu")"), SmallLlama()),
              Fails(kUnimplemented, HasSubstr("hidden_act is \"gelu\"")));
  EXPECT_THAT(Load(with(R"("head_dim": 3)"), SmallLlama()),
              Fails(kInvalid, HasSubstr("head_dim is 3")));
  EXPECT_THAT(Load(with(R"("rope_scaling": {"rope_type": "dynamic"})"), SmallLlama()),
              Fails(kUnimplemented, HasSubstr("\"dynamic\"")));
  EXPECT_THAT(
      Load(with(R"("rope_scaling": {"rope_type": "longrope", "short_factor": 3})"), SmallLlama()),
      Fails(kInvalid, HasSubstr("rope_scaling.short_factor is 3, not an array")));
  EXPECT_THAT(Load(with(R"("rope_scaling": {"rope_type": "longrope", "short_factor": [1, 1],
                        "long_factor": [1, 0]})"),
                   SmallLlama()),
              Fails(kInvalid, HasSubstr("rope_scaling.long_factor is 0, not a number")));
  EXPECT_THAT(Load(with(R"("sliding_window": 32)"), SmallLlama()),
              Fails(kUnimplemented, HasSubstr("sliding_window is 32")));
  // A window over the whole context, or one that is switched off, changes nothing.
  EXPECT_TRUE(Load(with(R"("sliding_window": 64)"), SmallLlama()).ok());
  EXPECT_TRUE(
      Load(with(R"("sliding_window": 32, "use_sliding_window": false)"), SmallLlama()).ok());
  EXPECT_THAT(Load(LatentConfig(R"(, "n_routed_experts": 8, "num_experts_per_tok": 2,
                        "scoring_func": "relu")"),
                   SmallLatent()),
              Fails(kUnimplemented, HasSubstr("scoring_func is \"relu\"")));
  EXPECT_THAT(Load(LatentConfig(R"(, "n_routed_experts": 8, "num_experts_per_tok": 2,
                        "topk_method": "dice")"),
                   SmallLatent()),
              Fails(kUnimplemented, HasSubstr("topk_method \"dice\"")));
}

std::string FamilyConfig(absl::string_view architecture, absl::string_view more) {
  return ConfigWith("\"architectures\": [\"LlamaForCausalLM\"]",
                    absl::StrCat("\"architectures\": [\"", architecture, "\"], ", more));
}

TEST(LoadTest, FamiliesRefuseWhatTheyDoNotCompute) {
  const auto refused = [](absl::string_view architecture, absl::string_view more,
                          absl::StatusCode code, const std::string& message) {
    EXPECT_THAT(Spec(FamilyConfig(architecture, more), SmallLlama()).status(),
                Fails(code, HasSubstr(message)))
        << architecture;
  };
  refused("LlamaForCausalLM", R"("partial_rotary_factor": 0.5)", kUnimplemented,
          "partial_rotary_factor is 0.5");
  refused("Qwen3ForCausalLM", R"("sliding_window": 8)", kUnimplemented, "sliding_window is 8");
  refused("Phi3ForCausalLM", R"("partial_rotary_factor": 0.1)", kInvalid, "even number");
  refused("Phi3ForCausalLM", R"("rope_scaling": {"type": "su", "short_factor": [1, 2],
          "long_factor": [3, 4]})",
          kInvalid, "needs original_max_position_embeddings");
  refused("Phi3ForCausalLM", R"("original_max_position_embeddings": 16, "rope_scaling":
          {"type": "longrope", "short_factor": [1, 2], "long_factor": [3, 4, 5]})",
          kInvalid, "long_factor has 3 elements");
  refused("Gemma2ForCausalLM", R"("query_pre_attn_scalar": 4)", kUnimplemented, "hidden_act");
  refused("Gemma2ForCausalLM", R"("hidden_activation": "gelu_pytorch_tanh")", kInvalid,
          "query_pre_attn_scalar is missing");
  refused("Gemma3ForCausalLM", R"("hidden_activation": "gelu_pytorch_tanh",
          "query_pre_attn_scalar": 4, "rope_scaling": {"rope_type": "yarn", "factor": 4})",
          kUnimplemented, "yarn");
}

std::string MixtralConfig(absl::string_view more = "") {
  return FamilyConfig("MixtralForCausalLM",
                      absl::StrCat(R"("num_local_experts": 3, "num_experts_per_tok": 2)", more));
}

// What MixtralConfig asks for.
Tensors SmallMixtral() {
  Tensors tensors = SmallLlama();
  for (const char* name : {"gate_proj", "up_proj", "down_proj"}) {
    tensors.erase(absl::StrCat(kLayer, "mlp.", name, ".weight"));
  }
  const std::string moe = absl::StrCat(kLayer, "block_sparse_moe.");
  tensors[moe + "gate.weight"] = {DType::kF32, {3, 8}};
  for (int e = 0; e < 3; ++e) {
    const std::string expert = absl::StrCat(moe, "experts.", e, ".");
    tensors[expert + "w1.weight"] = {DType::kF32, {16, 8}};
    tensors[expert + "w2.weight"] = {DType::kF32, {8, 16}};
    tensors[expert + "w3.weight"] = {DType::kF32, {16, 8}};
  }
  return tensors;
}

TEST(LoadTest, ExpertsMustBeThereInTheirShapes) {
  EXPECT_TRUE(Load(MixtralConfig(), SmallMixtral()).ok());
  Tensors tensors = SmallMixtral();
  const std::string moe = absl::StrCat(kLayer, "block_sparse_moe.");
  tensors.erase(moe + "experts.2.w1.weight");
  tensors[moe + "experts.1.w2.weight"] = {DType::kF32, {16, 8}};
  tensors[moe + "gate.weight"] = {DType::kF32, {4, 8}};
  tensors[moe + "experts.3.w1.weight"] = {DType::kF32, {16, 8}};
  EXPECT_THAT(
      Load(MixtralConfig(), tensors),
      Fails(kInvalid, AllOf(HasSubstr("missing " + moe + "experts.2.w1.weight [16, 8]"),
                            HasSubstr(moe + "experts.1.w2.weight is [16, 8], expected [8, 16]"),
                            HasSubstr(moe + "gate.weight is [4, 8], expected [3, 8]"),
                            HasSubstr("unexpected " + moe + "experts.3.w1.weight"))));
}

TEST(LoadTest, ConfigsOfExpertsMustMakeSense) {
  const auto says = [](absl::string_view architecture, absl::string_view more,
                       const std::string& message) {
    EXPECT_THAT(Spec(FamilyConfig(architecture, more), SmallMixtral()).status(),
                Fails(kInvalid, HasSubstr(message)))
        << more;
  };
  const char* const mixtral = "MixtralForCausalLM";
  says(mixtral, R"("num_local_experts": 0, "num_experts_per_tok": 2)", "number is 0 or missing");
  says(mixtral, R"("num_experts_per_tok": 2)", "num_local_experts or num_experts");
  says(mixtral, R"("num_local_experts": 3)", "num_experts_per_tok is 0");
  says(mixtral, R"("num_local_experts": 3, "num_experts_per_tok": 4)",
       "num_experts_per_tok is 4, but there are 3 experts");
  says(mixtral, R"("num_local_experts": 100000, "num_experts_per_tok": 2)",
       "num_local_experts is 100000");
  says(mixtral, R"("num_local_experts": -1, "num_experts_per_tok": 2)", "num_local_experts is -1");
  says(mixtral, R"("num_local_experts": 4096, "num_experts_per_tok": 65)",
       "num_experts_per_tok is 65");
  const char* const qwen = "Qwen3MoeForCausalLM";
  says(qwen, R"("num_experts": 0)", "number is 0 or missing");
  const std::string sizes = R"("num_experts": 4, "num_experts_per_tok": 2)";
  says(qwen, sizes + R"(, "moe_intermediate_size": 0)", "moe_intermediate_size is 0");
  says(qwen, sizes + R"(, "decoder_sparse_step": 0)", "decoder_sparse_step is 0");
  says(qwen, sizes + R"(, "mlp_only_layers": [1])", "mlp_only_layers is 1");
  says(qwen, sizes + R"(, "mlp_only_layers": [0, -1])", "mlp_only_layers is -1");
  says(qwen, sizes + R"(, "norm_topk_prob": 1)", "norm_topk_prob is 1");
  // Families without experts do not overlook them.
  for (const char* dense : {"LlamaForCausalLM", "MistralForCausalLM", "Qwen3ForCausalLM"}) {
    EXPECT_THAT(Spec(FamilyConfig(dense, R"("num_local_experts": 8)"), SmallLlama()).status(),
                Fails(kUnimplemented, HasSubstr("models with experts (here 8)")));
  }
}

TEST(LoadTest, LayersHaveExpertsAsTheConfigSays) {
  const auto layers = [](absl::string_view more) {
    const std::string config = absl::StrReplaceAll(
        FamilyConfig("Qwen3MoeForCausalLM",
                     absl::StrCat(R"("num_experts": 4, "num_experts_per_tok": 2,)",
                                  R"("moe_intermediate_size": 6)", more)),
        {{"\"num_hidden_layers\": 1", "\"num_hidden_layers\": 5"}});
    const absl::StatusOr<ModelSpec> spec = Spec(config, SmallLlama());
    CHECK_OK(spec.status());
    EXPECT_EQ(spec->moe.num_experts, spec->moe.layers.empty() ? 0 : 4);
    return spec->moe.layers;
  };
  EXPECT_THAT(layers(""), ElementsAre(true, true, true, true, true));
  EXPECT_THAT(layers(R"(, "mlp_only_layers": [0, 3])"),
              ElementsAre(false, true, true, false, true));
  EXPECT_THAT(layers(R"(, "decoder_sparse_step": 2, "mlp_only_layers": [1])"),
              ElementsAre(false, false, false, true, false));
  EXPECT_THAT(layers(R"(, "decoder_sparse_step": 6)"), ElementsAre());
  const absl::StatusOr<ModelSpec> mixtral =
      Spec(MixtralConfig(R"(, "sliding_window": 9)"), SmallMixtral());
  ASSERT_TRUE(mixtral.ok()) << mixtral.status();
  EXPECT_THAT(mixtral->sliding_window, ElementsAre(9));
  EXPECT_TRUE(mixtral->moe.norm_topk_prob);
  EXPECT_EQ(mixtral->moe.intermediate_size, 16);
}

// A small llama of GGUF with three experts, in one tensor for each kind of matrix or, as older
// files have it, in one for each expert.
GgufBuilder SmallMixtralGguf(bool stacked) {
  GgufBuilder b = SmallLlamaGguf();
  b.U32("llama.expert_count", 3).U32("llama.expert_used_count", 2);
  const auto add = [&](const std::string& name, std::vector<uint64_t> dims) {
    uint64_t elements = 1;
    for (const uint64_t dim : dims) elements *= dim;
    b.tensors.push_back({name, std::move(dims), 0, static_cast<uint64_t>(b.data_bytes)});
    b.data_bytes += static_cast<int64_t>((4 * elements + 31) / 32 * 32);
  };
  for (const char* norm : {"attn_norm", "ffn_norm"}) {
    add(absl::StrCat("blk.0.", norm, ".weight"), {8});
  }
  add("blk.0.attn_q.weight", {8, 8});
  add("blk.0.attn_k.weight", {8, 4});
  add("blk.0.attn_v.weight", {8, 4});
  add("blk.0.attn_output.weight", {8, 8});
  add("blk.0.ffn_gate_inp.weight", {8, 3});
  const std::pair<std::string, std::vector<uint64_t>> matrices[] = {
      {"blk.0.ffn_gate", {8, 16}}, {"blk.0.ffn_up", {8, 16}}, {"blk.0.ffn_down", {16, 8}}};
  for (const auto& [name, dims] : matrices) {
    if (stacked) {
      add(name + "_exps.weight", {dims[0], dims[1], 3});
      continue;
    }
    for (int e = 0; e < 3; ++e) add(absl::StrCat(name, ".", e, ".weight"), dims);
  }
  return b;
}

TEST(LoadTest, ExpertsOfGgufStandTogetherOrApart) {
  const TempFolder folder;
  for (const bool stacked : {true, false}) {
    const GgufBuilder good = SmallMixtralGguf(stacked);
    const absl::Status status = Load(folder.Write("model.gguf", good.Build()));
    EXPECT_TRUE(status.ok()) << status;
  }
  GgufBuilder wrong = SmallMixtralGguf(true);
  std::swap(wrong.tensors.back().dims[0], wrong.tensors.back().dims[1]);
  wrong.tensors[wrong.tensors.size() - 2].dims = {8, 48};
  EXPECT_THAT(
      Load(folder.Write("model.gguf", wrong.Build())),
      Fails(kInvalid,
            AllOf(HasSubstr("blk.0.ffn_down_exps.weight is [3, 16, 8], expected [3, 8, 16]"),
                  HasSubstr("blk.0.ffn_up_exps.weight is [48, 8], expected [3, 16, 8]"))));
  GgufBuilder fewer = SmallMixtralGguf(false);
  fewer.Drop("llama.expert_count").U32("llama.expert_count", 4);
  EXPECT_THAT(Load(folder.Write("model.gguf", fewer.Build())),
              Fails(kInvalid, AllOf(HasSubstr("missing blk.0.ffn_gate.3.weight [16, 8]"),
                                    HasSubstr("ffn_gate_inp.weight is [3, 8], expected [4, 8]"))));
  GgufBuilder many = SmallMixtralGguf(true);
  many.Drop("llama.expert_used_count").U32("llama.expert_used_count", 4);
  EXPECT_THAT(Load(folder.Write("model.gguf", many.Build())),
              Fails(kInvalid, HasSubstr("num_experts_per_tok is 4, but there are 3 experts")));
  many = SmallMixtralGguf(true);
  many.Drop("llama.expert_count").U32("llama.expert_count", 5000);
  EXPECT_THAT(Load(folder.Write("model.gguf", many.Build())),
              Fails(kInvalid, HasSubstr("llama.expert_count")));
}

TEST(LoadTest, WindowsComeFromThePatternOrTheConfig) {
  const auto windows = [](absl::string_view architecture, absl::string_view more) {
    const std::string config = absl::StrReplaceAll(
        FamilyConfig(architecture,
                     absl::StrCat(R"("hidden_activation": "gelu_pytorch_tanh", "sliding_window": 9,
                                  "query_pre_attn_scalar": 4)",
                                  more)),
        {{"\"num_hidden_layers\": 1", "\"num_hidden_layers\": 4"}});
    const absl::StatusOr<ModelSpec> spec = Spec(config, SmallLlama());
    CHECK_OK(spec.status());
    return spec->sliding_window;
  };
  EXPECT_THAT(windows("Gemma2ForCausalLM", ""), ElementsAre(9, 0, 9, 0));
  EXPECT_THAT(windows("Gemma3ForCausalLM", ""), ElementsAre(9, 9, 9, 9));
  EXPECT_THAT(windows("Gemma3ForCausalLM", R"(, "sliding_window_pattern": 3)"),
              ElementsAre(9, 9, 0, 9));
  EXPECT_THAT(windows("Gemma3ForCausalLM", R"(, "layer_types": ["full_attention",
                      "sliding_attention", "full_attention", "sliding_attention"])"),
              ElementsAre(0, 9, 0, 9));
}

// Newer files hold RoPE of layers with a window and of those without side by side.
TEST(LoadTest, RopeMayBeGivenByKindOfLayer) {
  const auto spec = [](absl::string_view rope) {
    const std::string config = absl::StrReplaceAll(
        FamilyConfig("Gemma3ForCausalLM", R"("hidden_activation": "gelu_pytorch_tanh",
                     "query_pre_attn_scalar": 4, "sliding_window": 9,
                     "layer_types": ["sliding_attention", "full_attention"])"),
        {{"\"num_hidden_layers\": 1", "\"num_hidden_layers\": 2"},
         {"\"rope_theta\": 10000.0", rope}});
    return Spec(config, SmallLlama());
  };
  const absl::StatusOr<ModelSpec> old =
      spec(R"("rope_theta": 90000, "rope_scaling": {"rope_type": "linear", "factor": 8},
           "rope_local_base_freq": 400)");
  ASSERT_TRUE(old.ok()) << old.status();
  EXPECT_THAT(old->inv_freq[0], ElementsAre(1.0f, 1 / 20.0f));
  const absl::StatusOr<ModelSpec> nested = spec(R"("rope_parameters": {
           "full_attention": {"rope_type": "linear", "factor": 8, "rope_theta": 90000},
           "sliding_attention": {"rope_type": "default", "rope_theta": 400}})");
  ASSERT_TRUE(nested.ok()) << nested.status();
  EXPECT_EQ(nested->inv_freq, old->inv_freq);
  EXPECT_THAT(spec(R"("rope_parameters": {"full_attention": {"rope_type": "default"}})").status(),
              Fails(kInvalid, HasSubstr("rope_parameters.sliding_attention is not an object")));
  EXPECT_THAT(spec(R"("rope_parameters": {"full_attention": {"rope_type": "default"},
                   "sliding_attention": {"rope_type": "linear", "factor": 8}})")
                  .status(),
              Fails(kUnimplemented, HasSubstr("sliding_attention.rope_type is \"linear\"")));
}

// Three rows of notes about one missing matrix would be two too many.
TEST(LoadTest, AFusedMatrixIsMissedOnce) {
  const absl::Status status =
      Load(FamilyConfig("Phi3ForCausalLM", R"("use_cache": true)"), SmallLlama());
  const std::string missing = "missing model.layers.0.self_attn.qkv_proj.weight [16, 8]";
  EXPECT_THAT(status, Fails(kInvalid, HasSubstr(missing)));
  const std::string message(status.message());
  EXPECT_EQ(message.find(missing), message.rfind(missing));
}

TEST(LoadTest, ReadsFeaturesOfLatentModels) {
  Tensors tensors = SmallLatent();
  const absl::StatusOr<ModelSpec> plain = Spec(LatentConfig(), tensors);
  ASSERT_TRUE(plain.ok()) << plain.status();
  EXPECT_EQ(plain->family, "transmla");
  EXPECT_TRUE(plain->mla.latent_norm);
  EXPECT_FALSE(plain->qkv_bias);
  EXPECT_FLOAT_EQ(plain->attention_scale, 0.37796447f);  // 1 / sqrt(3 + 4)
  EXPECT_EQ(plain->CacheLayout(DType::kBF16).BytesPerToken(), 2 * (6 + 4));
  EXPECT_THAT(plain->inv_freq[0], ElementsAre(1.0f, 0.01f));

  tensors.erase(absl::StrCat(kLayer, "self_attn.kv_a_layernorm.weight"));
  tensors[absl::StrCat(kLayer, "self_attn.kv_a_proj_with_mqa.bias")] = {DType::kF32, {10}};
  tensors[absl::StrCat(kLayer, "self_attn.rotary_emb.inv_freq")] = {DType::kF32, {2}};
  const absl::StatusOr<ModelSpec> converted =
      Spec(LatentConfig(R"(, "attention_scale": 0.5, "source_cache_values_per_token": 99,
                       "qk_latent_layernorm": false)"),
           tensors);
  ASSERT_TRUE(converted.ok()) << converted.status();
  EXPECT_FALSE(converted->mla.latent_norm);
  EXPECT_TRUE(converted->qkv_bias);
  EXPECT_EQ(converted->attention_scale, 0.5f);
  EXPECT_EQ(converted->source_cache_values, 99);
  EXPECT_THAT(converted->inv_freq[0], ElementsAre(0.0f, 0.0f));  // the layer's own
}

TEST(LoadTest, LatentModelsMayHaveWhatTheirSourcesHave) {
  Tensors tensors = SmallLatent();
  tensors.erase(absl::StrCat(kLayer, "self_attn.kv_a_layernorm.weight"));
  for (const char* norm : {"post_self_attn_layernorm", "post_mlp_layernorm"}) {
    tensors[absl::StrCat(kLayer, norm, ".weight")] = {DType::kF32, {8}};
  }
  // Of one group of keys and values, six dimensions a head.
  const auto put = [&](const char* name, Shape shape) {
    tensors[absl::StrCat(kLayer, "self_attn.", name, ".weight")] = {DType::kF32, shape};
  };
  put("q_proj", {2 * 6, 8});
  put("k_proj", {6, 8});
  put("v_proj", {6, 8});
  put("q_norm", {6});
  put("k_norm", {6});
  put("q_b_proj", {2 * 7, 6});
  put("kv_a_proj_with_mqa", {6 + 4, 2 * 6});
  const std::string plain = R"(, "qk_latent_layernorm": false, "hidden_act": "gelu_pytorch_tanh",
      "sliding_window": 9, "layer_types": ["sliding_attention"], "attn_logit_softcapping": 3.5,
      "final_logit_softcapping": 4.5, "embedding_multiplier": 2.5)";
  const std::string config =
      LatentConfig(plain + R"(, "source_head_dim": 6, "source_num_key_value_heads": 1)");
  const absl::StatusOr<ModelSpec> spec = Spec(config, tensors);
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->activation, Activation::kGeluTanh);
  EXPECT_THAT(spec->sliding_window, ElementsAre(9));
  EXPECT_EQ(spec->attention_soft_cap, 3.5f);
  EXPECT_EQ(spec->final_soft_cap, 4.5f);
  EXPECT_EQ(spec->embedding_scale, 2.5f);
  EXPECT_TRUE(spec->post_norms);
  EXPECT_TRUE(spec->qk_norm);
  const absl::Status status = Load(config, tensors);
  EXPECT_TRUE(status.ok()) << status;
  // Without the keys, the maps' shapes are wrong and the source's projections not expected.
  EXPECT_THAT(Load(LatentConfig(plain), tensors),
              Fails(kInvalid, AllOf(HasSubstr("q_proj.weight is [12, 8], expected [14, 8]"),
                                    HasSubstr("unexpected model.layers.0.self_attn.k_proj"))));
  EXPECT_THAT(Load(LatentConfig(plain + R"(, "source_head_dim": 6)"), tensors),
              Fails(kInvalid, HasSubstr("num_key_value_heads is 0")));
  EXPECT_THAT(Load(LatentConfig(R"(, "hidden_act": "relu")"), SmallLatent()),
              Fails(kInvalid, HasSubstr("hidden_act is \"relu\"")));
}

TEST(LoadTest, FrequenciesMustFitTheHead) {
  Tensors tensors = SmallLatent();
  tensors[absl::StrCat(kLayer, "self_attn.rotary_emb.inv_freq")] = {DType::kF32, {3}};
  EXPECT_THAT(Load(LatentConfig(), tensors),
              Fails(kInvalid, AllOf(HasSubstr("inv_freq is f32 [3]"), HasSubstr("f32 [2]"))));

  const TempFolder folder;
  GgufBuilder gguf = SmallLlamaGguf();
  gguf.tensors.push_back({"rope_freqs.weight", {3}, 0, 160});
  gguf.data_bytes = 192;
  EXPECT_THAT(Load(folder.Write("model.gguf", gguf.Build())),
              Fails(kInvalid, AllOf(HasSubstr("rope_freqs.weight is f32 [3]"), HasSubstr("[2]"))));
}

}  // namespace
}  // namespace transmla
