// config.json and generation_config.json of a Hugging Face folder → Config.
//
// Field names and defaults are those of transformers' configuration classes; the keys that a
// conversion adds are in docs/checkpoint_format.md. Every number is held against a range
// (limits.h): errors name file, key, value and limit.
#ifndef TRANSMLA_ENGINE_FORMAT_HF_CONFIG_H_
#define TRANSMLA_ENGINE_FORMAT_HF_CONFIG_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "engine/format/config.h"

namespace transmla {

struct HfConfig {
  Config config;
  // Whether the file says anything about tied embeddings; if not, the checkpoint's tensors decide.
  bool gives_tie_word_embeddings = false;
};

// `path` is for messages, `text` the content of config.json. Any architecture is accepted; whether
// the engine runs it is decided by the model layer. Returns Unimplemented for weights quantised
// inside the checkpoint (quantization_config) and for models of several parts (text_config).
absl::StatusOr<HfConfig> ParseHfConfig(const std::string& path, absl::string_view text);

// Adds what generation_config.json says about sampling and end-of-text tokens.
absl::Status ApplyGenerationConfig(const std::string& path, absl::string_view text, Config& config);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_FORMAT_HF_CONFIG_H_
