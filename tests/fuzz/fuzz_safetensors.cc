// Any bytes as a safetensors file, as a shard index, and as both config files of a Hugging Face
// folder.
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

#include "engine/base/check.h"
#include "engine/base/checked_math.h"
#include "engine/format/hf_config.h"
#include "engine/format/safetensors_header.h"
#include "engine/format/shard_index.h"

namespace {

using namespace transmla;  // NOLINT: a program of one file

void TryHeader(absl::string_view file) {
  const auto entries = ParseSafetensorsHeader("fuzz.safetensors", file);
  if (!entries.ok()) return;
  const auto file_bytes = static_cast<int64_t>(file.size());
  for (const SafetensorsEntry& entry : *entries) {
    CHECK_GE(entry.offset, 8);
    CHECK_GE(entry.bytes, 0);
    CHECK_LE(entry.bytes, file_bytes - entry.offset);
    CHECK_EQ(entry.bytes, entry.info.shape.elements() * TraitsOf(entry.info.dtype).block_bytes);
  }
}

// A file whose data has as many bytes as the first byte says and whose header is the rest, its
// length right and its data aligned, so that mutations of the JSON need not hit those too.
std::string FileAround(absl::string_view bytes) {
  if (bytes.empty()) return "";
  const auto data_bytes = static_cast<unsigned char>(bytes.front());
  std::string header(bytes.substr(1));
  header.resize(AlignUp(header.size(), size_t{8}), ' ');
  const uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof(length)) + header +
         std::string(data_bytes, '\0');
}

void TryJson(absl::string_view text) {
  const auto index = ParseShardIndex("fuzz.index.json", text);
  if (index.ok()) {
    for (const auto& [tensor, shard] : *index) CHECK(shard.find('/') == std::string::npos);
  }
  auto config = ParseHfConfig("config.json", text);
  if (!config.ok()) return;
  CHECK_GT(config->config.head_dim, 0);
  CHECK_EQ(config->config.num_attention_heads % config->config.num_key_value_heads, 0);
  ApplyGenerationConfig("generation_config.json", text, config->config).IgnoreError();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  TryHeader(bytes);
  TryHeader(FileAround(bytes));
  TryJson(bytes);
  return 0;
}
