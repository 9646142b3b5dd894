// The tokenizer files of a Hugging Face folder, read and checked as far as every kind needs them.
#ifndef TRANSMLA_ENGINE_TOKENIZER_HF_FILES_H_
#define TRANSMLA_ENGINE_TOKENIZER_HF_FILES_H_

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include <nlohmann/json.hpp>

#include "engine/base/file.h"
#include "engine/format/checkpoint.h"

namespace transmla {

struct HfTokenizerFiles {
  std::string folder;
  std::string tokenizer_json_path;  // for messages, also where the file does not exist
  nlohmann::json tokenizer_json;    // an object, or null without the file
  std::string config_path;
  nlohmann::json config;  // tokenizer_config.json; an empty object without the file
  std::string sentencepiece_path;
  std::optional<std::string> sentencepiece;  // tokenizer.model

  // From tokenizer_config.json, or special_tokens_map.json.
  std::optional<std::string> bos_text;
  std::optional<std::string> eos_text;
  std::optional<std::string> pad_text;
  std::optional<bool> add_bos;  // add_bos_token
  // chat_template.jinja, or "chat_template" of tokenizer_config.json: the one called "default"
  // where there are several.
  std::string chat_template_path;
  std::optional<std::string> chat_template;
};

// The folder of a checkpoint's tokenizer files.
std::string TokenizerFolder(FileSystem& files, const CheckpointReader& checkpoint);

// Missing files are no error. InvalidArgument, naming file, field and value, for broken ones.
absl::StatusOr<HfTokenizerFiles> ReadHfTokenizerFiles(FileSystem& files, const std::string& folder);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_TOKENIZER_HF_FILES_H_
