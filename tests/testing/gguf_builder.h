// GgufBuilder: the bytes of a GGUF file, right or wrong in any field.
#ifndef TRANSMLA_TESTS_TESTING_GGUF_BUILDER_H_
#define TRANSMLA_TESTS_TESTING_GGUF_BUILDER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

#include "engine/format/gguf.h"

namespace transmla::testing {

template <typename T>
std::string Bytes(T value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof(value));
}

inline std::string GgufString(absl::string_view text) {
  return absl::StrCat(Bytes<uint64_t>(text.size()), text);
}

inline std::string GgufStrings(const std::vector<std::string>& texts) {
  std::string bytes = Bytes<uint32_t>(8) + Bytes<uint64_t>(texts.size());
  for (const std::string& text : texts) bytes += GgufString(text);
  return bytes;
}

struct GgufBuilder {
  struct Tensor {
    std::string name;
    std::vector<uint64_t> dims;  // as in the file: innermost first
    uint32_t type = 0;
    uint64_t offset = 0;  // from the data's start
  };

  std::string magic = "GGUF";
  uint32_t version = 3;
  // What the header claims; the true numbers if empty.
  std::optional<uint64_t> tensor_count;
  std::optional<uint64_t> metadata_count;
  std::vector<std::string> entries;
  std::vector<Tensor> tensors;
  int64_t alignment = 32;
  int64_t data_bytes = 0;

  GgufBuilder& Entry(absl::string_view key, GgufType type, absl::string_view payload) {
    entries.push_back(absl::StrCat(GgufString(key), Bytes(static_cast<uint32_t>(type)), payload));
    return *this;
  }
  GgufBuilder& U32(absl::string_view key, uint32_t value) {
    return Entry(key, GgufType::kUint32, Bytes(value));
  }
  GgufBuilder& F32(absl::string_view key, float value) {
    return Entry(key, GgufType::kFloat32, Bytes(value));
  }
  GgufBuilder& Text(absl::string_view key, absl::string_view value) {
    return Entry(key, GgufType::kString, GgufString(value));
  }
  // Removes the entries of that key, so that a case can put its own.
  GgufBuilder& Drop(absl::string_view key) {
    std::erase_if(entries, [&](const std::string& entry) {
      return absl::string_view(entry).substr(0, 8 + key.size()) == GgufString(key);
    });
    return *this;
  }

  std::string Build() const {
    std::string file = magic + Bytes(version) +
                       Bytes<uint64_t>(tensor_count.value_or(tensors.size())) +
                       Bytes<uint64_t>(metadata_count.value_or(entries.size()));
    for (const std::string& entry : entries) file += entry;
    for (const Tensor& tensor : tensors) {
      file += GgufString(tensor.name) + Bytes(static_cast<uint32_t>(tensor.dims.size()));
      for (const uint64_t dim : tensor.dims) file += Bytes(dim);
      file += Bytes(tensor.type) + Bytes(tensor.offset);
    }
    while (file.size() % static_cast<size_t>(alignment) != 0) file += '\0';
    file.resize(file.size() + static_cast<size_t>(data_bytes), '\x3c');
    return file;
  }
};

// The smallest Llama that opens: hidden size 8, two heads over one key/value head, four tokens. Its
// two tensors are token_embd.weight (F32 [4, 8]) and output_norm.weight (F32 [8]).
inline GgufBuilder SmallLlamaGguf() {
  GgufBuilder b;
  b.Text("general.architecture", "llama")
      .U32("llama.block_count", 1)
      .U32("llama.embedding_length", 8)
      .U32("llama.feed_forward_length", 16)
      .U32("llama.attention.head_count", 2)
      .U32("llama.attention.head_count_kv", 1)
      .U32("llama.context_length", 64)
      .F32("llama.attention.layer_norm_rms_epsilon", 1e-5f)
      .F32("llama.rope.freq_base", 10000.0f)
      .Entry("tokenizer.ggml.tokens", GgufType::kArray, GgufStrings({"a", "b", "c", "</s>"}))
      .U32("tokenizer.ggml.eos_token_id", 3);
  b.tensors = {{"token_embd.weight", {8, 4}, 0, 0}, {"output_norm.weight", {8}, 0, 128}};
  b.data_bytes = 160;
  return b;
}

}  // namespace transmla::testing

#endif  // TRANSMLA_TESTS_TESTING_GGUF_BUILDER_H_
