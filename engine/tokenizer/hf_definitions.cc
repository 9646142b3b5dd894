#include "engine/tokenizer/hf_definitions.h"

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "engine/base/status.h"
#include "engine/format/limits.h"
#include "engine/tokenizer/end_tokens.h"
#include "engine/tokenizer/json_fields.h"
#include "engine/tokenizer/tokenizer_json.h"

namespace transmla {
namespace {

using nlohmann::json;

// config.json's and generation_config.json's end-of-text tokens; whoever builds the tokenizer
// checks that it has them.
absl::Status AddConfigEos(const HfTokenizerFiles& files, const Config& config,
                          std::vector<TokenId>& eos) {
  for (const int64_t id : config.eos_token_ids) {
    if (id < 0 || id >= kMaxVocabSize) {
      return absl::InvalidArgumentError(absl::StrCat(files.folder, ": eos_token_id is ", id,
                                                     "; ids are 0 to ", kMaxVocabSize - 1));
    }
    eos.push_back(static_cast<TokenId>(id));
  }
  return absl::OkStatus();
}

// "added_tokens_decoder" of tokenizer_config.json: tokens by id.
absl::StatusOr<std::vector<AddedToken>> AddedTokensFromConfig(const HfTokenizerFiles& files) {
  std::vector<AddedToken> added;
  ASSIGN_OR_RETURN(const JsonFields config, JsonFields::Of(files.config_path, files.config));
  const json* section = config.Find("added_tokens_decoder");
  if (section == nullptr) return added;
  const std::string where = config.Where("added_tokens_decoder");
  if (!section->is_object()) {
    return config.Invalid("added_tokens_decoder",
                          absl::StrCat("is ", ShowJson(*section), ", not an object"));
  }
  for (const auto& [key, value] : section->items()) {
    ASSIGN_OR_RETURN(const JsonFields entry,
                     JsonFields::Of(absl::StrCat(where, ".", key.substr(0, 64)), value));
    AddedToken token;
    if (!absl::SimpleAtoi(key, &token.id) || token.id < 0 || token.id >= kMaxVocabSize) {
      return absl::InvalidArgumentError(absl::StrCat(where, " has the key \"", key.substr(0, 64),
                                                     "\"; ids are 0 to ", kMaxVocabSize - 1));
    }
    ASSIGN_OR_RETURN(token.text, entry.RequireText("content"));
    ASSIGN_OR_RETURN(token.special, entry.Bool("special", false));
    ASSIGN_OR_RETURN(token.single_word, entry.Bool("single_word", false));
    ASSIGN_OR_RETURN(token.lstrip, entry.Bool("lstrip", false));
    ASSIGN_OR_RETURN(token.rstrip, entry.Bool("rstrip", false));
    if (!token.text.empty()) added.push_back(std::move(token));
  }
  return added;
}

}  // namespace

absl::StatusOr<BpeDefinition> BpeFromHf(const HfTokenizerFiles& files, const Config& config) {
  ASSIGN_OR_RETURN(BpeDefinition definition,
                   BpeFromJson(files.tokenizer_json_path, files.tokenizer_json));
  const auto find = [&](const std::string& text, const char* key) -> absl::StatusOr<TokenId> {
    const auto found = std::find(definition.tokens.begin(), definition.tokens.end(), text);
    if (found != definition.tokens.end() && !text.empty()) {
      return static_cast<TokenId>(found - definition.tokens.begin());
    }
    return absl::InvalidArgumentError(absl::StrCat(files.config_path, ": ", key, " is \"", text,
                                                   "\", which is no token of ", definition.path));
  };
  ASSIGN_OR_RETURN(definition.bos, LeadingTokenFromJson(definition.path, files.tokenizer_json));
  definition.add_bos = definition.bos.has_value();
  if (files.bos_text.has_value()) {
    ASSIGN_OR_RETURN(const TokenId bos, find(*files.bos_text, "bos_token"));
    if (!definition.bos.has_value()) definition.bos = bos;
  }
  if (files.add_bos.has_value() && definition.bos.has_value()) definition.add_bos = *files.add_bos;
  if (files.eos_text.has_value()) {
    ASSIGN_OR_RETURN(const TokenId eos, find(*files.eos_text, "eos_token"));
    definition.eos.push_back(eos);
  }
  RETURN_IF_ERROR(AddConfigEos(files, config, definition.eos));
  AddKnownEndTokens(definition.added, definition.eos);
  return definition;
}

absl::StatusOr<SentencePieceDefinition> SentencePieceFromHf(const HfTokenizerFiles& files,
                                                            const Config& config) {
  SentencePieceDefinition definition;
  definition.path = files.sentencepiece_path;
  definition.proto = *files.sentencepiece;
  if (files.tokenizer_json.is_null()) {
    ASSIGN_OR_RETURN(definition.added, AddedTokensFromConfig(files));
  } else {
    ASSIGN_OR_RETURN(definition.added,
                     AddedTokensFromJson(files.tokenizer_json_path, files.tokenizer_json));
  }
  ASSIGN_OR_RETURN(const JsonFields fields, JsonFields::Of(files.config_path, files.config));
  ASSIGN_OR_RETURN(const bool legacy, fields.Bool("legacy", true));
  definition.prefix_once = !legacy;
  definition.bos_text = files.bos_text;
  definition.eos_text = files.eos_text;
  definition.add_bos = files.add_bos.value_or(true);
  RETURN_IF_ERROR(AddConfigEos(files, config, definition.eos));
  return definition;
}

}  // namespace transmla
