// Any bytes as a GGUF file: parsing ends, touches nothing outside them, and what it accepts is what
// it promises.
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

#include "engine/base/check.h"
#include "engine/format/gguf_config.h"
#include "engine/format/gguf_parser.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace transmla;  // NOLINT: one function
  const absl::string_view file(reinterpret_cast<const char*>(data), size);
  const absl::StatusOr<GgufContents> contents = ParseGguf("fuzz.gguf", file);
  if (!contents.ok()) return 0;
  const auto file_bytes = static_cast<int64_t>(size);
  for (const GgufTensor& tensor : contents->tensors) {
    CHECK_GE(tensor.offset, 0);
    CHECK_GT(tensor.bytes, 0);
    CHECK_LE(tensor.bytes, file_bytes - tensor.offset);
    CHECK_EQ(tensor.offset % contents->alignment, 0);
  }
  const GgufMetadata& metadata = contents->metadata;
  for (const absl::string_view key : metadata.keys()) {
    // Every getter answers or refuses; none reads outside the file.
    (void)metadata.GetInt(key, INT64_MIN, INT64_MAX).ok();
    (void)metadata.GetFloat(key).ok();
    (void)metadata.GetBool(key).ok();
    (void)metadata.GetString(key).ok();
    (void)metadata.GetStrings(key).ok();
    (void)metadata.GetInts(key).ok();
    (void)metadata.GetFloats(key).ok();
  }
  const absl::StatusOr<Config> config = ConfigFromGguf(*contents);
  if (!config.ok()) return 0;
  CHECK_GT(config->head_dim, 0);
  CHECK_EQ(config->num_attention_heads % config->num_key_value_heads, 0);
  for (const int64_t id : config->eos_token_ids) CHECK_LT(id, config->vocab_size);
  return 0;
}
