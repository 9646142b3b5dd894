#include "engine/tokenizer/hf_files.h"

#include <utility>

#include "absl/strings/str_cat.h"

#include "engine/base/status.h"
#include "engine/format/limits.h"
#include "engine/tokenizer/json_fields.h"
#include "engine/tokenizer/limits.h"

namespace transmla {
namespace {

using nlohmann::json;

// Nothing if there is no such file.
absl::StatusOr<std::optional<std::string>> ReadIfPresent(FileSystem& files, const std::string& path,
                                                         int64_t max_bytes) {
  if (files.Kind(path) == PathKind::kMissing) return std::optional<std::string>();
  ASSIGN_OR_RETURN(std::string text, files.Read(path, max_bytes));
  return std::optional<std::string>(std::move(text));
}

// Null if there is no such file.
absl::StatusOr<json> ReadJsonIfPresent(FileSystem& files, const std::string& path,
                                       int64_t max_bytes) {
  ASSIGN_OR_RETURN(const std::optional<std::string> text, ReadIfPresent(files, path, max_bytes));
  if (!text.has_value()) return json();
  return ParseJsonObject(path, *text);
}

// A token is a text, or an object with its text as "content".
absl::StatusOr<std::optional<std::string>> TokenField(const JsonFields& fields, const char* key) {
  const json* found = fields.Find(key);
  if (found == nullptr) return std::optional<std::string>();
  if (found->is_string()) return std::optional<std::string>(found->get<std::string>());
  ASSIGN_OR_RETURN(const JsonFields token, JsonFields::Of(fields.Where(key), *found));
  ASSIGN_OR_RETURN(std::string text, token.RequireText("content"));
  return std::optional<std::string>(std::move(text));
}

absl::Status ReadRoles(const std::string& path, const json& object, HfTokenizerFiles& out) {
  ASSIGN_OR_RETURN(const JsonFields fields, JsonFields::Of(path, object));
  ASSIGN_OR_RETURN(const std::optional<std::string> bos, TokenField(fields, "bos_token"));
  ASSIGN_OR_RETURN(const std::optional<std::string> eos, TokenField(fields, "eos_token"));
  ASSIGN_OR_RETURN(const std::optional<std::string> pad, TokenField(fields, "pad_token"));
  if (!out.bos_text.has_value()) out.bos_text = bos;
  if (!out.eos_text.has_value()) out.eos_text = eos;
  if (!out.pad_text.has_value()) out.pad_text = pad;
  return absl::OkStatus();
}

absl::Status ReadChatTemplate(FileSystem& files, HfTokenizerFiles& out) {
  out.chat_template_path = JoinPath(out.folder, "chat_template.jinja");
  ASSIGN_OR_RETURN(out.chat_template,
                   ReadIfPresent(files, out.chat_template_path, kMaxConfigBytes));
  if (out.chat_template.has_value()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const JsonFields fields, JsonFields::Of(out.config_path, out.config));
  out.chat_template_path = fields.Where("chat_template");
  const json* found = fields.Find("chat_template");
  if (found == nullptr) return absl::OkStatus();
  if (found->is_string()) {
    out.chat_template = found->get<std::string>();
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const json* templates, fields.RequireArray("chat_template"));
  for (size_t i = 0; i < templates->size(); ++i) {
    ASSIGN_OR_RETURN(
        const JsonFields entry,
        JsonFields::Of(absl::StrCat(out.chat_template_path, "[", i, "]"), (*templates)[i]));
    ASSIGN_OR_RETURN(const std::string name, entry.RequireText("name"));
    ASSIGN_OR_RETURN(std::string text, entry.RequireText("template"));
    if (name == "default") out.chat_template = std::move(text);
  }
  return absl::OkStatus();
}

}  // namespace

std::string TokenizerFolder(FileSystem& files, const CheckpointReader& checkpoint) {
  const std::string& path = checkpoint.path();
  return files.Kind(path) == PathKind::kFolder ? path : ParentFolder(path);
}

absl::StatusOr<HfTokenizerFiles> ReadHfTokenizerFiles(FileSystem& files,
                                                      const std::string& folder) {
  HfTokenizerFiles out;
  out.folder = folder;
  out.tokenizer_json_path = JoinPath(folder, "tokenizer.json");
  out.config_path = JoinPath(folder, "tokenizer_config.json");
  out.sentencepiece_path = JoinPath(folder, "tokenizer.model");
  ASSIGN_OR_RETURN(out.tokenizer_json,
                   ReadJsonIfPresent(files, out.tokenizer_json_path, kMaxTokenizerJsonBytes));
  ASSIGN_OR_RETURN(out.config, ReadJsonIfPresent(files, out.config_path, kMaxConfigBytes));
  if (out.config.is_null()) out.config = json::object();
  ASSIGN_OR_RETURN(out.sentencepiece,
                   ReadIfPresent(files, out.sentencepiece_path, kMaxSentencePieceBytes));
  RETURN_IF_ERROR(ReadRoles(out.config_path, out.config, out));
  const std::string map_path = JoinPath(folder, "special_tokens_map.json");
  ASSIGN_OR_RETURN(const json map, ReadJsonIfPresent(files, map_path, kMaxConfigBytes));
  if (!map.is_null()) RETURN_IF_ERROR(ReadRoles(map_path, map, out));
  ASSIGN_OR_RETURN(const JsonFields config, JsonFields::Of(out.config_path, out.config));
  if (config.Find("add_bos_token") != nullptr) {
    ASSIGN_OR_RETURN(out.add_bos, config.Bool("add_bos_token", false));
  }
  RETURN_IF_ERROR(ReadChatTemplate(files, out));
  return out;
}

}  // namespace transmla
