// GGUF metadata → Config, under the names of Hugging Face's config.json.
//
// Keys are those of the GGUF specification, "Standardized key-value pairs": "llama.block_count",
// "qwen2.embedding_length" and so on; general.architecture is their prefix. What depends on which
// tensors exist (tied embeddings, biases) is read from the tensor list.
#ifndef TRANSMLA_ENGINE_FORMAT_GGUF_CONFIG_H_
#define TRANSMLA_ENGINE_FORMAT_GGUF_CONFIG_H_

#include "absl/status/statusor.h"

#include "engine/format/config.h"
#include "engine/format/gguf_parser.h"

namespace transmla {

// Errors name file, key, value and limit. Any architecture is accepted; whether the engine runs it
// is decided by the model layer.
absl::StatusOr<Config> ConfigFromGguf(const GgufContents& contents);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_FORMAT_GGUF_CONFIG_H_
