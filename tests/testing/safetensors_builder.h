// The bytes of safetensors files and of a config.json that goes with them.
#ifndef TRANSMLA_TESTS_TESTING_SAFETENSORS_BUILDER_H_
#define TRANSMLA_TESTS_TESTING_SAFETENSORS_BUILDER_H_

#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"

#include "tests/testing/gguf_builder.h"

namespace transmla::testing {

// `header` as JSON, padded to eight bytes, and `data_bytes` of data.
inline std::string SafetensorsFile(std::string header, int64_t data_bytes) {
  while (header.size() % 8 != 0) header += ' ';
  return absl::StrCat(Bytes<uint64_t>(header.size()), header,
                      std::string(static_cast<size_t>(data_bytes), '\x3c'));
}

// A BF16 [4, 8] embedding and an F32 [8] norm: 96 bytes of data.
inline constexpr char kSmallHeader[] =
    R"({"model.norm.weight":{"dtype":"F32","shape":[8],"data_offsets":[0,32]},)"
    R"("model.embed_tokens.weight":{"dtype":"BF16","shape":[4,8],"data_offsets":[32,96]}})";

inline constexpr char kSmallConfig[] = R"({
  "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 4, "hidden_size": 8,
  "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
  "max_position_embeddings": 64, "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "tie_word_embeddings": true,
  "bos_token_id": 0, "eos_token_id": [2, 3]
})";

// kSmallConfig with one text replaced by another, which must occur in it.
inline std::string ConfigWith(absl::string_view from, absl::string_view to) {
  return absl::StrReplaceAll(kSmallConfig, {{from, to}});
}

}  // namespace transmla::testing

#endif  // TRANSMLA_TESTS_TESTING_SAFETENSORS_BUILDER_H_
