#include "engine/tokenizer/export.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include <nlohmann/json.hpp>

#include "engine/base/status.h"
#include "engine/base/utf8.h"
#include "engine/format/gguf_reader.h"
#include "engine/tokenizer/bpe_gguf.h"
#include "engine/tokenizer/gguf_tokens.h"
#include "engine/tokenizer/hf_files.h"
#include "engine/tokenizer/limits.h"
#include "engine/tokenizer/sentencepiece_gguf.h"
#include "engine/tokenizer/sentencepiece_json.h"
#include "engine/tokenizer/tokenizer_json.h"

namespace transmla {
namespace {

using nlohmann::json;

// What may make up a tokenizer in a Hugging Face folder; generation_config.json names end tokens.
constexpr absl::string_view kFolderFiles[] = {
    "tokenizer.json",     "tokenizer_config.json",
    "tokenizer.model",    "special_tokens_map.json",
    "vocab.json",         "merges.txt",
    "added_tokens.json",  "chat_template.jinja",
    "chat_template.json", "generation_config.json",
};

absl::Status CopyFolder(const std::string& from, FileSystem& files, const std::string& to) {
  for (const absl::string_view name : kFolderFiles) {
    const std::string path = JoinPath(from, name);
    if (files.Kind(path) == PathKind::kMissing) continue;
    ASSIGN_OR_RETURN(const std::string contents, files.Read(path, kMaxTokenizerJsonBytes));
    RETURN_IF_ERROR(WriteFileAtomically(files, JoinPath(to, name), contents));
  }
  return absl::OkStatus();
}

absl::Status WriteJson(FileSystem& files, const std::string& path, const json& value) {
  return WriteFileAtomically(files, path, value.dump(1, ' ', /*ensure_ascii=*/false) + "\n");
}

// JSON is UTF-8, GGUF's strings can be anything.
absl::Status CheckUtf8(const std::string& path, absl::string_view what, absl::string_view text) {
  while (!text.empty()) {
    const Utf8Step step = NextUtf8(text);
    if (!step.valid) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": ", what, " is not UTF-8, so JSON cannot hold it"));
    }
    text.remove_prefix(static_cast<size_t>(step.bytes));
  }
  return absl::OkStatus();
}

// An entry of tokenizer_config.json's "added_tokens_decoder".
json DescribeAdded(const AddedToken& token) {
  return {{"content", token.text},
          {"lstrip", token.lstrip},
          {"normalized", token.normalized},
          {"rstrip", token.rstrip},
          {"single_word", token.single_word},
          {"special", token.special}};
}

// tokenizer_config.json, but for add_bos_token.
absl::StatusOr<json> DescribeTokenizer(const GgufReader& reader,
                                       absl::string_view tokenizer_class) {
  const GgufMetadata& metadata = reader.metadata();
  ASSIGN_OR_RETURN(const GgufTokens tokens, ReadGgufTokens(metadata));
  json config = {
      {"tokenizer_class", std::string(tokenizer_class)},
      {"clean_up_tokenization_spaces", false},
      {"added_tokens_decoder", json::object()},
  };
  if (reader.config().max_position_embeddings > 0) {
    config["model_max_length"] = reader.config().max_position_embeddings;
  }
  for (const AddedToken& token : tokens.Added()) {
    config["added_tokens_decoder"][absl::StrCat(token.id)] = DescribeAdded(token);
  }
  const std::pair<const char*, std::optional<TokenId>> roles[] = {
      {"bos_token", tokens.bos},
      {"eos_token", tokens.eos},
      {"unk_token", tokens.unk},
      {"pad_token", tokens.padding},
  };
  for (const auto& [key, id] : roles) {
    if (id.has_value()) config[key] = tokens.texts[static_cast<size_t>(*id)];
  }
  constexpr char kTemplate[] = "tokenizer.chat_template";
  if (metadata.Has(kTemplate)) {
    ASSIGN_OR_RETURN(const absl::string_view text, metadata.GetString(kTemplate));
    RETURN_IF_ERROR(CheckUtf8(metadata.path(), kTemplate, text));
    config["chat_template"] = std::string(text);
  }
  return config;
}

absl::Status CheckTexts(const GgufMetadata& metadata) {
  for (const char* key : {"tokenizer.ggml.tokens", "tokenizer.ggml.merges"}) {
    if (!metadata.Has(key)) continue;
    ASSIGN_OR_RETURN(const auto texts, metadata.GetStrings(key));
    for (size_t i = 0; i < texts.size(); ++i) {
      RETURN_IF_ERROR(CheckUtf8(metadata.path(), absl::StrCat(key, "[", i, "]"), texts[i]));
    }
  }
  return absl::OkStatus();
}

absl::Status WriteBpe(const GgufReader& reader, FileSystem& files, const std::string& directory) {
  ASSIGN_OR_RETURN(const BpeDefinition definition, BpeFromGguf(reader.metadata()));
  // An unknown token is a role in GGUF only; byte-level BPE never produces it.
  ASSIGN_OR_RETURN(json config, DescribeTokenizer(reader, "PreTrainedTokenizerFast"));
  config["add_bos_token"] = definition.add_bos;
  RETURN_IF_ERROR(
      WriteJson(files, JoinPath(directory, "tokenizer.json"), TokenizerJsonFromBpe(definition)));
  return WriteJson(files, JoinPath(directory, "tokenizer_config.json"), config);
}

// tokenizer.model is what LoadTokenizer reads; transformers reads tokenizer.json.
absl::Status WriteSentencePiece(const GgufReader& reader, FileSystem& files,
                                const std::string& directory) {
  ASSIGN_OR_RETURN(const GgufSentencePiece read, SentencePieceFromGguf(reader.metadata()));
  const SentencePieceDefinition& definition = read.definition;
  // A tokenizer.json cannot say that extra white space is dropped; transformers makes one then.
  const bool has_json = !read.model.remove_extra_whitespaces;
  ASSIGN_OR_RETURN(json config, DescribeTokenizer(reader, has_json ? "PreTrainedTokenizerFast"
                                                                   : "LlamaTokenizer"));
  config["add_bos_token"] = definition.add_bos;
  config["add_eos_token"] = false;
  config["legacy"] = !definition.prefix_once;
  RETURN_IF_ERROR(
      WriteFileAtomically(files, JoinPath(directory, "tokenizer.model"), definition.proto));
  if (has_json) {
    RETURN_IF_ERROR(WriteJson(files, JoinPath(directory, "tokenizer.json"),
                              TokenizerJsonFromSentencePiece(read.model, definition.add_bos)));
  }
  return WriteJson(files, JoinPath(directory, "tokenizer_config.json"), config);
}

}  // namespace

absl::Status WriteTokenizerFiles(const CheckpointReader& source, FileSystem* files,
                                 const std::string& directory) {
  const auto* gguf = dynamic_cast<const GgufReader*>(&source);
  if (gguf == nullptr) {
    return CopyFolder(TokenizerFolder(*files, source), *files, directory);
  }
  const GgufMetadata& metadata = gguf->metadata();
  constexpr char kModel[] = "tokenizer.ggml.model";
  if (!metadata.Has(kModel)) return absl::OkStatus();  // a model without a tokenizer
  RETURN_IF_ERROR(CheckTexts(metadata));
  ASSIGN_OR_RETURN(const absl::string_view model, metadata.GetString(kModel));
  if (model == "gpt2") return WriteBpe(*gguf, *files, directory);
  if (model == "llama") return WriteSentencePiece(*gguf, *files, directory);
  return absl::InvalidArgumentError(absl::StrCat(metadata.path(), ": ", kModel, " is \"", model,
                                                 "\"; supported are gpt2 and llama"));
}

}  // namespace transmla
