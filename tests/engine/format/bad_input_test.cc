// Broken model files and configs, each with the message it must give: the table of
// docs/bad_input.md.
//
// The document holds the messages word by word, so that a change of a message is a change of a
// document. To write it anew, run this test with TRANSMLA_WRITE_DOCS=1.
#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "engine/format/checkpoint.h"
#include "tests/testing/gguf_builder.h"
#include "tests/testing/safetensors_builder.h"
#include "tests/testing/temp_folder.h"

namespace transmla {
namespace {

using ::testing::HasSubstr;
using namespace transmla::testing;  // NOLINT: the builders

struct BadInput {
  std::string what;  // for people
  // Puts files into a fresh folder and returns what to open.
  std::function<std::string(const TempFolder&)> make;
  std::vector<std::string> fragments;  // of the message
};

BadInput File(std::string what, std::string name, std::string bytes,
              std::vector<std::string> fragments) {
  return {std::move(what),
          [name = std::move(name), bytes = std::move(bytes)](const TempFolder& folder) {
            return folder.Write(name, bytes);
          },
          std::move(fragments)};
}

BadInput Gguf(std::string what, const std::function<void(GgufBuilder&)>& spoil,
              std::vector<std::string> fragments) {
  GgufBuilder builder = SmallLlamaGguf();
  spoil(builder);
  return File(std::move(what), "model.gguf", builder.Build(), std::move(fragments));
}

// As a sole entry: counts that announce more than the file has must not be followed by anything.
BadInput LoneEntry(std::string what, std::string key, GgufType type, std::string payload,
                   std::vector<std::string> fragments) {
  GgufBuilder builder;
  builder.Entry(key, type, payload);
  return File(std::move(what), "model.gguf", builder.Build(), std::move(fragments));
}

BadInput Folder(std::string what, std::string header, int64_t data_bytes, std::string config,
                std::vector<std::string> fragments) {
  return {std::move(what),
          [=](const TempFolder& folder) {
            folder.Write("model.safetensors", SafetensorsFile(header, data_bytes));
            folder.Write("config.json", config);
            return folder.path();
          },
          std::move(fragments)};
}

BadInput Header(std::string what, std::string header, int64_t data_bytes,
                std::vector<std::string> fragments) {
  return Folder(std::move(what), std::move(header), data_bytes, kSmallConfig, std::move(fragments));
}

BadInput HfConfig(std::string what, std::string config, std::vector<std::string> fragments) {
  return Folder(std::move(what), kSmallHeader, 96, std::move(config), std::move(fragments));
}

BadInput Index(std::string what, std::string index, std::vector<std::string> fragments) {
  return {std::move(what),
          [=](const TempFolder& folder) {
            folder.Write("a.safetensors", SafetensorsFile(kSmallHeader, 96));
            folder.Write("model.safetensors.index.json", index);
            folder.Write("config.json", kSmallConfig);
            return folder.path();
          },
          std::move(fragments)};
}

void AddGgufHeaders(std::vector<BadInput>& cases) {
  const std::string valid = SmallLlamaGguf().Build();
  cases.push_back(File("GGUF: cut in its magic", "model.gguf", "GGU", {"does not start with"}));
  cases.push_back(
      File("GGUF: cut in the version", "model.gguf", "GGUF\x03", {"version", "truncated"}));
  cases.push_back(File("GGUF: cut in the counts", "model.gguf", valid.substr(0, 20),
                       {"metadata count", "truncated"}));
  cases.push_back(
      File("GGUF: cut in the metadata", "model.gguf", valid.substr(0, 100), {"truncated"}));
  cases.push_back(File("GGUF: cut in the tensors' data", "model.gguf",
                       valid.substr(0, valid.size() - 1), {"output_norm.weight", "truncated"}));
  cases.push_back(Gguf("GGUF: version 1", [](GgufBuilder& b) { b.version = 1; }, {"version 1"}));
  cases.push_back(
      Gguf("GGUF: version 77", [](GgufBuilder& b) { b.version = 77; }, {"77", "2 and 3"}));
  cases.push_back(
      Gguf("GGUF: big-endian", [](GgufBuilder& b) { b.version = 0x03000000; }, {"big-endian"}));
  cases.push_back(Gguf("GGUF: 2^60 tensors", [](GgufBuilder& b) { b.tensor_count = 1ull << 60; },
                       {"tensor count", "limit"}));
  cases.push_back(Gguf("GGUF: 60,000 tensors announced, two there",
                       [](GgufBuilder& b) { b.tensor_count = 60000; },
                       {"tensor count is 60000", "truncated"}));
  cases.push_back(Gguf("GGUF: 2^64 - 1 metadata entries",
                       [](GgufBuilder& b) { b.metadata_count = ~0ull; },
                       {"metadata count", "limit"}));
  cases.push_back(Gguf("GGUF: one metadata entry too many announced",
                       [](GgufBuilder& b) { b.metadata_count = 12; }, {"limit"}));
}

void AddGgufMetadata(std::vector<BadInput>& cases) {
  const auto kArray = GgufType::kArray;
  cases.push_back(LoneEntry("GGUF: string of 2^63 bytes", "general.name", GgufType::kString,
                            Bytes<uint64_t>(1ull << 63), {"general.name", "limit"}));
  cases.push_back(LoneEntry("GGUF: string longer than the file", "general.name", GgufType::kString,
                            Bytes<uint64_t>(5000), {"general.name", "truncated"}));
  cases.push_back(LoneEntry("GGUF: array of 2^62 strings", "tokenizer.ggml.tokens", kArray,
                            Bytes<uint32_t>(8) + Bytes<uint64_t>(1ull << 62), {"tokens", "limit"}));
  cases.push_back(
      LoneEntry("GGUF: array of a million strings in a tiny file", "tokenizer.ggml.tokens", kArray,
                Bytes<uint32_t>(8) + Bytes<uint64_t>(1000000), {"tokens", "truncated"}));
  cases.push_back(LoneEntry("GGUF: array of an undefined type", "x", kArray,
                            Bytes<uint32_t>(13) + Bytes<uint64_t>(0), {"type 13"}));
  std::string deep;
  for (int i = 0; i < 40; ++i) deep += Bytes<uint32_t>(9) + Bytes<uint64_t>(1);
  cases.push_back(LoneEntry("GGUF: arrays nested 40 deep", "x", kArray, deep, {"deeper than 4"}));
  cases.push_back(
      LoneEntry("GGUF: undefined value type", "x", static_cast<GgufType>(99), "", {"type 99"}));
  cases.push_back(LoneEntry("GGUF: bool of 2", "x", GgufType::kBool, "\x02", {"bool 2"}));
  cases.push_back(LoneEntry("GGUF: empty key", "", GgufType::kBool, "\x01", {"metadata key 0"}));
  cases.push_back(LoneEntry("GGUF: control characters in a key", "a\x1b[2J", GgufType::kBool,
                            "\x01", {"\\x1b[2J"}));
  cases.push_back(Gguf("GGUF: a key twice", [](GgufBuilder& b) { b.U32("llama.block_count", 1); },
                       {"llama.block_count", "twice"}));
  cases.push_back(Gguf("GGUF: alignment of zero",
                       [](GgufBuilder& b) { b.U32("general.alignment", 0); },
                       {"general.alignment"}));
  cases.push_back(Gguf("GGUF: alignment of 24",
                       [](GgufBuilder& b) { b.U32("general.alignment", 24); },
                       {"general.alignment is 24", "power of two"}));
  cases.push_back(
      Gguf("GGUF: one part of several",
           [](GgufBuilder& b) { b.Entry("split.count", GgufType::kUint16, Bytes<uint16_t>(3)); },
           {"3 parts", "merge"}));
}

void AddGgufTensors(std::vector<BadInput>& cases) {
  cases.push_back(Gguf("GGUF: tensor name of 65 bytes",
                       [](GgufBuilder& b) { b.tensors[0].name = std::string(65, 'n'); },
                       {"name of tensor 0", "65", "limit of 64"}));
  cases.push_back(Gguf("GGUF: two tensors of one name",
                       [](GgufBuilder& b) { b.tensors[1].name = "token_embd.weight"; }, {"twice"}));
  cases.push_back(Gguf("GGUF: tensor without dimensions",
                       [](GgufBuilder& b) { b.tensors[0].dims = {}; }, {"0 dimensions"}));
  cases.push_back(Gguf("GGUF: tensor of five dimensions",
                       [](GgufBuilder& b) {
                         b.tensors[0].dims = {1, 1, 1, 1, 1};
                       },
                       {"5 dimensions"}));
  cases.push_back(Gguf("GGUF: dimension of zero",
                       [](GgufBuilder& b) {
                         b.tensors[0].dims = {8, 0};
                       },
                       {"dimension of 0"}));
  cases.push_back(Gguf("GGUF: dimensions whose product overflows",
                       [](GgufBuilder& b) {
                         b.tensors[0].dims = {1ull << 40, 1ull << 40};
                       },
                       {"token_embd.weight", "2^63 - 1"}));
  cases.push_back(Gguf("GGUF: bytes of a tensor overflow",
                       [](GgufBuilder& b) { b.tensors[0].dims = {1ull << 62}; }, {"too many"}));
  cases.push_back(Gguf("GGUF: row of 8 elements in blocks of 32",
                       [](GgufBuilder& b) { b.tensors[0].type = 2; }, {"q4_0", "multiple of 32"}));
  cases.push_back(Gguf("GGUF: tensor type that is not read",
                       [](GgufBuilder& b) { b.tensors[0].type = 23; }, {"IQ4_XS", "supported"}));
  cases.push_back(Gguf("GGUF: tensor type that does not exist",
                       [](GgufBuilder& b) { b.tensors[0].type = 4000; }, {"type 4000"}));
  cases.push_back(Gguf("GGUF: offset that is not aligned",
                       [](GgufBuilder& b) { b.tensors[1].offset = 129; }, {"129", "alignment 32"}));
  cases.push_back(Gguf("GGUF: offset beyond the file",
                       [](GgufBuilder& b) { b.tensors[1].offset = 1ull << 62; }, {"truncated"}));
  cases.push_back(Gguf("GGUF: tensors that overlap",
                       [](GgufBuilder& b) { b.tensors[1].offset = 96; }, {"overlap"}));
}

void AddGgufConfigs(std::vector<BadInput>& cases) {
  cases.push_back(Gguf("GGUF: soft cap of -50",
                       [](GgufBuilder& b) { b.F32("llama.final_logit_softcapping", -50.0f); },
                       {"final_logit_softcapping is -50"}));
  cases.push_back(Gguf("GGUF: no architecture",
                       [](GgufBuilder& b) { b.Drop("general.architecture"); },
                       {"general.architecture"}));
  cases.push_back(
      Gguf("GGUF: architecture is a number",
           [](GgufBuilder& b) { b.Drop("general.architecture").U32("general.architecture", 1); },
           {"uint32, not string"}));
  cases.push_back(Gguf("GGUF: no layers key", [](GgufBuilder& b) { b.Drop("llama.block_count"); },
                       {"llama.block_count"}));
  cases.push_back(
      Gguf("GGUF: four billion layers",
           [](GgufBuilder& b) { b.Drop("llama.block_count").U32("llama.block_count", ~0u); },
           {"4294967295", "1 to 1024"}));
  cases.push_back(Gguf("GGUF: three heads over two key/value heads",
                       [](GgufBuilder& b) {
                         b.Drop("llama.attention.head_count").U32("llama.attention.head_count", 3);
                         b.Drop("llama.attention.head_count_kv");
                         b.U32("llama.attention.head_count_kv", 2);
                       },
                       {"head_count_kv is 2", "divide"}));
  cases.push_back(Gguf("GGUF: heads that differ between layers",
                       [](GgufBuilder& b) {
                         b.Drop("llama.attention.head_count_kv");
                         b.Entry("llama.attention.head_count_kv", GgufType::kArray,
                                 Bytes<uint32_t>(5) + Bytes<uint64_t>(2) + Bytes<int32_t>(1) +
                                     Bytes<int32_t>(2));
                       },
                       {"differs between layers"}));
  cases.push_back(Gguf("GGUF: windows of two layers in a model of one",
                       [](GgufBuilder& b) {
                         b.Entry("llama.attention.sliding_window_pattern", GgufType::kArray,
                                 Bytes<uint32_t>(7) + Bytes<uint64_t>(2) + Bytes<uint8_t>(1) +
                                     Bytes<uint8_t>(0));
                       },
                       {"sliding_window_pattern has 2 elements", "block_count is 1"}));
  cases.push_back(Gguf("GGUF: embeddings times 0",
                       [](GgufBuilder& b) { b.F32("llama.embedding_scale", 0); },
                       {"llama.embedding_scale is 0"}));
  cases.push_back(Gguf("GGUF: rope base is not a number",
                       [](GgufBuilder& b) {
                         b.Drop("llama.rope.freq_base").F32("llama.rope.freq_base", std::nanf(""));
                       },
                       {"rope.freq_base", "finite"}));
  cases.push_back(Gguf("GGUF: score scale of 0",
                       [](GgufBuilder& b) {
                         b.U32("llama.attention.kv_lora_rank", 4)
                             .U32("llama.rope.dimension_count", 2)
                             .F32("llama.attention.scale", 0);
                       },
                       {"llama.attention.scale is 0"}));
  cases.push_back(
      Gguf("GGUF: rotary dimensions of a latent model wider than its key",
           [](GgufBuilder& b) {
             b.U32("llama.attention.kv_lora_rank", 4).U32("llama.rope.dimension_count", 6);
           },
           {"more than the key's 4"}));
  cases.push_back(
      Gguf("GGUF: end-of-text token outside the vocabulary",
           [](GgufBuilder& b) {
             b.Drop("tokenizer.ggml.eos_token_id").U32("tokenizer.ggml.eos_token_id", 4);
           },
           {"eos_token_id is 4", "0 to 3"}));
}

void AddSafetensors(std::vector<BadInput>& cases) {
  cases.push_back(File("safetensors: five bytes", "model.safetensors", "\x01\x02\x03\x04\x05",
                       {"5 bytes", "truncated"}));
  cases.push_back(File("safetensors: header of 2^63 bytes", "model.safetensors",
                       Bytes<uint64_t>(1ull << 63) + "{}", {"header length", "limit"}));
  cases.push_back(File("safetensors: header longer than the file", "model.safetensors",
                       Bytes<uint64_t>(4096) + "{}", {"header of 4096", "truncated"}));
  cases.push_back(Header("safetensors: header is no JSON", "{\"a\": [}", 0, {"not JSON"}));
  cases.push_back(Header("safetensors: header is an array", "[1]", 0, {"'{'"}));
  cases.push_back(Header("safetensors: header nested 100 deep",
                         absl::StrCat("{\"a\":", std::string(100, '['), std::string(100, ']'), "}"),
                         0, {"nested deeper"}));
  cases.push_back(Header("safetensors: a tensor twice",
                         R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                         R"("a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
                         4, {"\"a\" occurs twice"}));
  const auto one = [](absl::string_view dtype, absl::string_view shape, absl::string_view offsets) {
    return absl::StrCat(R"({"a":{"dtype":")", dtype, R"(","shape":)", shape, R"(,"data_offsets":)",
                        offsets, "}}");
  };
  cases.push_back(Header("safetensors: unknown dtype", one("F8_E4M3", "[4]", "[0,4]"), 4,
                         {"F8_E4M3", "supported"}));
  cases.push_back(
      Header("safetensors: negative dimension", one("F32", "[-1]", "[0,4]"), 4, {"dimension -1"}));
  cases.push_back(Header("safetensors: dimension of 2^64",
                         one("F32", "[18446744073709551616]", "[0,4]"), 4,
                         {"dimension 1.8446744073709552e+19"}));
  cases.push_back(Header("safetensors: elements overflow",
                         one("F32", "[4294967296,4294967296]", "[0,4]"), 4, {"2^63 - 1 elements"}));
  cases.push_back(Header("safetensors: five dimensions", one("F32", "[1,1,1,1,1]", "[0,4]"), 4,
                         {"5 dimensions"}));
  cases.push_back(
      Header("safetensors: end before begin", one("F32", "[1]", "[4,0]"), 4, {"end before begin"}));
  cases.push_back(Header("safetensors: data beyond the file", one("F32", "[2]", "[0,8]"), 4,
                         {"ends at data byte 8", "truncated"}));
  cases.push_back(Header("safetensors: shape and bytes disagree", one("F32", "[3]", "[0,8]"), 8,
                         {"8 bytes", "[3] of f32 takes 12"}));
  cases.push_back(Header("safetensors: bytes after the last tensor", one("F32", "[1]", "[0,4]"), 12,
                         {"but the file has"}));
  cases.push_back(
      Header("safetensors: a hole before a tensor", one("F32", "[1]", "[4,8]"), 8, {"holes"}));
  cases.push_back(Header("safetensors: tensors that overlap",
                         R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                         R"("b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
                         12, {"overlap"}));
  cases.push_back(Header("safetensors: floats at an odd byte",
                         R"({"a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]},)"
                         R"("b":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}})",
                         5, {"tensor b", "4-byte elements"}));
  cases.push_back(Header("safetensors: field that the format does not have",
                         R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"code":"x"}})", 4,
                         {"\"code\""}));
  cases.push_back(Header("safetensors: metadata that is no object of strings",
                         R"({"__metadata__":{"format":1}})", 0, {"__metadata__"}));
}

void AddIndexes(std::vector<BadInput>& cases) {
  cases.push_back(Index("index: no weight_map", "{}", {"weight_map"}));
  cases.push_back(Index("index: shard outside the folder",
                        R"({"weight_map":{"a":"../../secret.safetensors"}})",
                        {"../../secret.safetensors", "plain name"}));
  cases.push_back(Index("index: shard that does not exist",
                        R"({"weight_map":{"a":"b.safetensors"}})",
                        {"b.safetensors", "does not exist"}));
  cases.push_back(Index("index: tensor that its shard does not hold",
                        R"({"weight_map":{"lost":"a.safetensors"}})", {"lost", "does not hold"}));
  cases.push_back(Index("index: tensor left out",
                        R"({"weight_map":{"model.norm.weight":"a.safetensors"}})",
                        {"model.embed_tokens.weight"}));
}

void AddHfConfigs(std::vector<BadInput>& cases) {
  const auto with = ConfigWith;
  cases.push_back(HfConfig("config.json: empty", "", {"not JSON"}));
  cases.push_back(HfConfig("config.json: an array", "[]", {"not a JSON object"}));
  cases.push_back(
      HfConfig("config.json: cut", std::string(kSmallConfig).substr(0, 90), {"not JSON"}));
  cases.push_back(HfConfig("config.json: no architectures",
                           with("\"architectures\": [\"LlamaForCausalLM\"],", ""),
                           {"architectures"}));
  cases.push_back(HfConfig("config.json: no hidden_size", with("\"hidden_size\": 8,", ""),
                           {"hidden_size is missing"}));
  cases.push_back(HfConfig("config.json: negative hidden_size",
                           with("\"hidden_size\": 8", "\"hidden_size\": -8"),
                           {"hidden_size is -8"}));
  cases.push_back(HfConfig("config.json: hidden_size of 8.5",
                           with("\"hidden_size\": 8", "\"hidden_size\": 8.5"),
                           {"hidden_size is 8.5"}));
  cases.push_back(HfConfig("config.json: hidden_size as text",
                           with("\"hidden_size\": 8", "\"hidden_size\": \"8\""),
                           {"hidden_size is \"8\""}));
  cases.push_back(
      HfConfig("config.json: 10^18 layers",
               with("\"num_hidden_layers\": 1", "\"num_hidden_layers\": 1000000000000000000"),
               {"num_hidden_layers", "1024"}));
  cases.push_back(HfConfig("config.json: no heads",
                           with("\"num_attention_heads\": 2", "\"num_attention_heads\": 0"),
                           {"num_attention_heads is 0"}));
  cases.push_back(HfConfig("config.json: three heads over two",
                           with("\"num_attention_heads\": 2, \"num_key_value_heads\": 1",
                                "\"num_attention_heads\": 3, \"num_key_value_heads\": 2"),
                           {"num_key_value_heads is 2", "divide"}));
  cases.push_back(HfConfig(
      "config.json: kinds of attention for two layers of one",
      with("\"bos_token_id\": 0", "\"layer_types\": [\"full_attention\", \"full_attention\"]"),
      {"layer_types", "1 layers"}));
  cases.push_back(HfConfig("config.json: an unknown kind of attention",
                           with("\"bos_token_id\": 0", "\"layer_types\": [\"linear_attention\"]"),
                           {"linear_attention", "sliding_attention"}));
  cases.push_back(HfConfig("config.json: soft cap of -50",
                           with("\"bos_token_id\": 0", "\"attn_logit_softcapping\": -50"),
                           {"attn_logit_softcapping is -50"}));
  cases.push_back(HfConfig("config.json: RoPE over twice the head",
                           with("\"bos_token_id\": 0", "\"partial_rotary_factor\": 2"),
                           {"partial_rotary_factor is 2"}));
  cases.push_back(HfConfig("config.json: rope_theta of zero",
                           with("\"rope_theta\": 10000.0", "\"rope_theta\": 0"),
                           {"rope_theta is 0"}));
  cases.push_back(
      HfConfig("config.json: rms_norm_eps beyond a double", with("1e-05", "1e999"), {"not JSON"}));
  cases.push_back(HfConfig("config.json: tie_word_embeddings of 1",
                           with("\"tie_word_embeddings\": true", "\"tie_word_embeddings\": 1"),
                           {"tie_word_embeddings is 1"}));
  cases.push_back(HfConfig("config.json: end-of-text token outside the vocabulary",
                           with("[2, 3]", "[2, 4]"), {"eos_token_id is 4"}));
  cases.push_back(HfConfig("config.json: rope_scaling without a type",
                           with("\"bos_token_id\": 0", "\"rope_scaling\": {\"factor\": 8}"),
                           {"rope_scaling.rope_type"}));
  cases.push_back(HfConfig("config.json: odd rope dimension of a latent model",
                           with("\"bos_token_id\": 0",
                                "\"kv_lora_rank\": 4, \"qk_nope_head_dim\": 4, "
                                "\"qk_rope_head_dim\": 3, \"v_head_dim\": 4"),
                           {"qk_rope_head_dim is 3"}));
  cases.push_back(HfConfig("config.json: weights quantised in the checkpoint",
                           with("\"bos_token_id\": 0", "\"quantization_config\": {\"bits\": 4}"),
                           {"quantization_config"}));
  cases.push_back(HfConfig("config.json: one part of a larger model",
                           with("\"bos_token_id\": 0", "\"text_config\": {}"), {"text_config"}));
  cases.push_back({"generation_config.json: negative temperature",
                   [](const TempFolder& folder) {
                     folder.Write("model.safetensors", SafetensorsFile(kSmallHeader, 96));
                     folder.Write("config.json", kSmallConfig);
                     folder.Write("generation_config.json", R"({"temperature": -1})");
                     return folder.path();
                   },
                   {"temperature is -1"}});
}

void AddPlaces(std::vector<BadInput>& cases) {
  cases.push_back({"nothing there",
                   [](const TempFolder& f) { return f.File("nothing"); },
                   {"no such file or folder"}});
  cases.push_back({"empty folder",
                   [](const TempFolder& f) { return f.path(); },
                   {"neither model.safetensors nor"}});
  cases.push_back(File("empty file", "model.gguf", "", {"empty"}));
  cases.push_back(File("text file", "notes.txt", "Dear diary,", {"no known format"}));
  cases.push_back(File("Git LFS pointer", "model.safetensors",
                       "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
                       {"git lfs pull"}));
  cases.push_back(File("PyTorch archive", "pytorch_model.bin", "PK\x03\x04rest", {"pickle"}));
  cases.push_back({"folder with pickles only",
                   [](const TempFolder& f) {
                     f.Write("pytorch_model.bin", "PK\x03\x04");
                     return f.path();
                   },
                   {"pickle", "supported"}});
  cases.push_back({"folder with two GGUF files",
                   [](const TempFolder& f) {
                     f.Write("a.gguf", SmallLlamaGguf().Build());
                     f.Write("b.gguf", SmallLlamaGguf().Build());
                     return f.path();
                   },
                   {"name one of them"}});
  cases.push_back({"weights without config.json",
                   [](const TempFolder& f) {
                     f.Write("model.safetensors", SafetensorsFile(kSmallHeader, 96));
                     return f.path();
                   },
                   {"no config.json"}});
}

std::vector<BadInput> AllCases() {
  std::vector<BadInput> cases;
  AddPlaces(cases);
  AddGgufHeaders(cases);
  AddGgufMetadata(cases);
  AddGgufTensors(cases);
  AddGgufConfigs(cases);
  AddSafetensors(cases);
  AddIndexes(cases);
  AddHfConfigs(cases);
  return cases;
}

// A table's cell: no line breaks, no cell borders.
std::string Cell(absl::string_view text) {
  return absl::StrReplaceAll(text, {{"|", "\\|"}, {"\n", " "}, {"<", "&lt;"}});
}

constexpr char kIntroduction[] = R"(# Broken model files and what they get

Each row is a case of `tests/engine/format/bad_input_test.cc`, with the status it gives word by word; that test fails
if this file does not say what the readers say. `DIR` stands for the folder of the case.

| what is broken | status |
|---|---|
)";

std::string ReadAll(const std::string& path) {
  std::ifstream file(path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// The document's part of this test, and that of tests/integration/bad_requests_test.py.
std::pair<std::string, std::string> Split(const std::string& document) {
  const size_t end = std::min(document.find("\n## Requests\n"), document.size());
  return {document.substr(0, end), document.substr(end)};
}

TEST(BadInputTest, EveryCaseFailsWithItsMessage) {
  std::string document = kIntroduction;
  for (const BadInput& bad : AllCases()) {
    SCOPED_TRACE(bad.what);
    const TempFolder folder;
    const std::string path = bad.make(folder);
    const absl::Status status = OpenCheckpoint(path).status();
    EXPECT_FALSE(status.ok());
    EXPECT_THAT(std::string(status.message()), HasSubstr(folder.path())) << "the file is not named";
    for (const std::string& fragment : bad.fragments) {
      EXPECT_THAT(std::string(status.message()), HasSubstr(fragment));
    }
    const std::string shown = absl::StrReplaceAll(status.ToString(), {{folder.path(), "DIR"}});
    absl::StrAppend(&document, "| ", Cell(bad.what), " | ", Cell(shown), " |\n");
  }
  const std::string path = absl::StrCat(TRANSMLA_SOURCE_DIR, "/docs/bad_input.md");
  if (std::getenv("TRANSMLA_WRITE_DOCS") != nullptr) {
    const std::string requests = Split(ReadAll(path)).second;
    std::ofstream(path) << document << requests;
  }
  EXPECT_EQ(document, Split(ReadAll(path)).first) << "write it anew with TRANSMLA_WRITE_DOCS=1";
}

TEST(BadInputTest, TheFilesTheyAreMadeFromOpen) {
  const TempFolder folder;
  EXPECT_TRUE(OpenCheckpoint(folder.Write("model.gguf", SmallLlamaGguf().Build())).ok());
  folder.Write("model.safetensors", SafetensorsFile(kSmallHeader, 96));
  folder.Write("config.json", kSmallConfig);
  EXPECT_TRUE(OpenCheckpoint(folder.path()).ok());
}

}  // namespace
}  // namespace transmla
