// The smallest checkpoints with tokenizers, whole; tests break single fields.
#ifndef TRANSMLA_TESTS_ENGINE_TOKENIZER_CHECKPOINTS_H_
#define TRANSMLA_TESTS_ENGINE_TOKENIZER_CHECKPOINTS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include <nlohmann/json.hpp>

#include "engine/format/gguf.h"
#include "tests/testing/gguf_builder.h"
#include "tests/testing/safetensors_builder.h"
#include "tests/testing/temp_folder.h"

namespace transmla::testing {

inline std::string GgufInts(const std::vector<int32_t>& values) {
  std::string bytes =
      Bytes(static_cast<uint32_t>(GgufType::kInt32)) + Bytes<uint64_t>(values.size());
  for (const int32_t value : values) bytes += Bytes(value);
  return bytes;
}

inline std::string GgufFloats(const std::vector<float>& values) {
  std::string bytes =
      Bytes(static_cast<uint32_t>(GgufType::kFloat32)) + Bytes<uint64_t>(values.size());
  for (const float value : values) bytes += Bytes(value);
  return bytes;
}

// A GGUF model of `num_tokens` tokens without the tokens themselves.
inline GgufBuilder ModelGguf(uint64_t num_tokens) {
  GgufBuilder b = SmallLlamaGguf();
  b.Drop("tokenizer.ggml.tokens").Drop("tokenizer.ggml.eos_token_id");
  b.tensors[0].dims[1] = num_tokens;
  b.tensors[1].offset = num_tokens * 32;
  b.data_bytes = static_cast<int64_t>(num_tokens * 32 + 32);
  return b;
}

// Byte-level BPE of eight tokens: a b Ġ ab Ġab <s> </s> <t>; texts start with <s>.
inline GgufBuilder BpeGguf() {
  GgufBuilder b = ModelGguf(8);
  b.Text("tokenizer.ggml.model", "gpt2")
      .Text("tokenizer.ggml.pre", "gpt-2")
      .Entry("tokenizer.ggml.tokens", GgufType::kArray,
             GgufStrings({"a", "b", "Ġ", "ab", "Ġab", "<s>", "</s>", "<t>"}))
      .Entry("tokenizer.ggml.token_type", GgufType::kArray, GgufInts({1, 1, 1, 1, 1, 3, 3, 4}))
      .Entry("tokenizer.ggml.merges", GgufType::kArray, GgufStrings({"a b", "Ġ ab"}))
      .U32("tokenizer.ggml.bos_token_id", 5)
      .U32("tokenizer.ggml.eos_token_id", 6)
      .Entry("tokenizer.ggml.add_bos_token", GgufType::kBool, Bytes<uint8_t>(1))
      .Text("tokenizer.chat_template", "{{ bos_token }}x");
  return b;
}

// SentencePiece BPE: <unk> <s> </s> <0x00> … <0xFF> ▁ a b ▁a ▁ab <t>, where <t> is user-defined.
inline GgufBuilder SentencePieceGguf() {
  std::vector<std::string> tokens = {"<unk>", "<s>", "</s>"};
  std::vector<int32_t> types = {2, 3, 3};
  for (int byte = 0; byte < 256; ++byte) {
    tokens.push_back(absl::StrCat("<0x", absl::Hex(byte, absl::kZeroPad2), ">"));
    for (size_t i = 3; i < 5; ++i) tokens.back()[i] = absl::ascii_toupper(tokens.back()[i]);
    types.push_back(6);
  }
  for (const char* text : {"▁", "a", "b", "▁a", "▁ab"}) {
    tokens.emplace_back(text);
    types.push_back(1);
  }
  tokens.emplace_back("<t>");
  types.push_back(4);
  std::vector<float> scores;
  for (size_t i = 0; i < tokens.size(); ++i) scores.push_back(-static_cast<float>(i));
  GgufBuilder b = ModelGguf(tokens.size());
  b.Text("tokenizer.ggml.model", "llama")
      .Entry("tokenizer.ggml.tokens", GgufType::kArray, GgufStrings(tokens))
      .Entry("tokenizer.ggml.token_type", GgufType::kArray, GgufInts(types))
      .Entry("tokenizer.ggml.scores", GgufType::kArray, GgufFloats(scores))
      .U32("tokenizer.ggml.unknown_token_id", 0)
      .U32("tokenizer.ggml.bos_token_id", 1)
      .U32("tokenizer.ggml.eos_token_id", 2);
  return b;
}

// The same tokens as BpeGguf.
inline nlohmann::json BpeTokenizerJson() {
  return nlohmann::json::parse(R"({
    "version": "1.0",
    "added_tokens": [
      {"id": 5, "content": "<s>", "special": true, "normalized": false},
      {"id": 6, "content": "</s>", "special": true, "normalized": false},
      {"id": 7, "content": "<t>", "special": false, "normalized": false}],
    "normalizer": null,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
    "post_processor": {"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                 {"Sequence": {"id": "A", "type_id": 0}}],
      "special_tokens": {"<s>": {"id": "<s>", "ids": [5], "tokens": ["<s>"]}}},
    "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "Ġ": 2, "ab": 3, "Ġab": 4},
              "merges": [["a", "b"], "Ġ ab"]}})");
}

// config.json and model.safetensors of a model with that many tokens.
inline void WriteHfModel(const TempFolder& folder, int num_tokens) {
  folder.Write("config.json",
               ConfigWith("\"vocab_size\": 4", absl::StrCat("\"vocab_size\": ", num_tokens)));
  const int bytes = num_tokens * 16;
  folder.Write(
      "model.safetensors",
      SafetensorsFile(
          absl::StrCat(R"({"model.norm.weight":{"dtype":"F32","shape":[8],"data_offsets":[0,32]},)",
                       R"("model.embed_tokens.weight":{"dtype":"BF16","shape":[)", num_tokens,
                       R"(,8],"data_offsets":[32,)", 32 + bytes, "]}}"),
          32 + bytes));
}

}  // namespace transmla::testing

#endif  // TRANSMLA_TESTS_ENGINE_TOKENIZER_CHECKPOINTS_H_
