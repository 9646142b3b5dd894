#include "engine/tokenizer/tokenizer_json.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

#include "engine/base/status.h"
#include "engine/format/limits.h"
#include "engine/tokenizer/json_fields.h"
#include "engine/tokenizer/limits.h"

namespace transmla {
namespace {

using nlohmann::json;

bool HasByteLevel(const json& section) {
  if (!section.is_object()) return false;
  const auto type = section.find("type");
  if (type != section.end() && *type == "ByteLevel") return true;
  for (const char* list : {"pretokenizers", "decoders"}) {
    const auto parts = section.find(list);
    if (parts == section.end() || !parts->is_array()) continue;
    for (const json& part : *parts) {
      if (HasByteLevel(part)) return true;
    }
  }
  return false;
}

json SectionOf(const json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() ? json() : *found;
}

// Puts `text` at `id`, growing the list. InvalidArgument if the id is out of range or taken.
absl::Status PutToken(const std::string& where, const std::string& text, int64_t id,
                      std::vector<std::string>& tokens) {
  if (id < 0 || id >= kMaxVocabSize) {
    return absl::InvalidArgumentError(absl::StrCat(where, " gives token \"", text, "\" the id ", id,
                                                   "; ids are 0 to ", kMaxVocabSize - 1));
  }
  const auto place = static_cast<size_t>(id);
  if (place >= tokens.size()) tokens.resize(place + 1);
  if (!tokens[place].empty() && tokens[place] != text) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, " gives \"", tokens[place], "\" and \"", text, "\" the same id ", id));
  }
  tokens[place] = text;
  return absl::OkStatus();
}

absl::Status ReadVocabulary(const JsonFields& model, std::vector<std::string>& tokens) {
  const json* vocabulary = model.Find("vocab");
  if (vocabulary == nullptr || !vocabulary->is_object()) {
    return model.Invalid("vocab", vocabulary == nullptr ? "is missing" : "is not an object");
  }
  const std::string where = model.Where("vocab");
  for (const auto& [text, id] : vocabulary->items()) {
    if (!id.is_number_integer() || text.empty()) {
      return absl::InvalidArgumentError(absl::StrCat(where, " gives token \"", text, "\" the id ",
                                                     ShowJson(id),
                                                     "; it must be a text with an "
                                                     "integer"));
    }
    RETURN_IF_ERROR(PutToken(where, text, id.get<int64_t>(), tokens));
  }
  return absl::OkStatus();
}

// "a b", or since tokenizers 0.20 ["a", "b"].
absl::Status ReadMerges(const JsonFields& model, BpeDefinition& definition) {
  ASSIGN_OR_RETURN(const json* merges, model.RequireArray("merges"));
  RETURN_IF_ERROR(CheckMergeCount(definition, merges->size()));
  definition.merges.reserve(merges->size());
  for (size_t i = 0; i < merges->size(); ++i) {
    const json& merge = (*merges)[i];
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      definition.merges.emplace_back(merge[0].get<std::string>(), merge[1].get<std::string>());
      continue;
    }
    const std::string text = merge.is_string() ? merge.get<std::string>() : "";
    const size_t space = text.find(' ');
    if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) {
      return model.Invalid(absl::StrCat("merges[", i, "]"),
                           absl::StrCat("is ", ShowJson(merge), ", not two tokens"));
    }
    definition.merges.emplace_back(text.substr(0, space), text.substr(space + 1));
  }
  return absl::OkStatus();
}

absl::Status ReadModelOptions(const JsonFields& model, BpeDefinition& definition) {
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    ASSIGN_OR_RETURN(const std::string affix, model.Text(key, ""));
    if (!affix.empty()) {
      return absl::UnimplementedError(
          absl::StrCat(model.Where(key), " is \"", affix, "\", which is not supported"));
    }
  }
  const json* dropout = model.Find("dropout");
  if (dropout != nullptr && *dropout != 0) {
    return absl::UnimplementedError(absl::StrCat(model.Where("dropout"), " is ", ShowJson(*dropout),
                                                 ", which would make ids random"));
  }
  ASSIGN_OR_RETURN(definition.ignore_merges, model.Bool("ignore_merges", false));
  ASSIGN_OR_RETURN(definition.fuse_unk, model.Bool("fuse_unk", false));
  return absl::OkStatus();
}

absl::Status ReadUnknownToken(const JsonFields& model, BpeDefinition& definition) {
  ASSIGN_OR_RETURN(const std::string text, model.Text("unk_token", ""));
  if (text.empty()) return absl::OkStatus();
  for (size_t id = 0; id < definition.tokens.size(); ++id) {
    if (definition.tokens[id] == text) definition.unk = static_cast<TokenId>(id);
  }
  if (definition.unk.has_value()) return absl::OkStatus();
  return model.Invalid("unk_token", absl::StrCat("is \"", text, "\", which is no token"));
}

// The id of "special_tokens"[name] of a TemplateProcessing.
absl::StatusOr<TokenId> TemplateTokenId(const JsonFields& processor, const std::string& name) {
  const std::string where = processor.Where("special_tokens");
  const json* tokens = processor.Find("special_tokens");
  const auto invalid = [&] {
    return absl::InvalidArgumentError(
        absl::StrCat(where, " does not give exactly one id for \"", name, "\""));
  };
  if (tokens == nullptr || !tokens->is_object() || !tokens->contains(name)) return invalid();
  ASSIGN_OR_RETURN(const JsonFields token,
                   JsonFields::Of(absl::StrCat(where, ".", name), (*tokens)[name]));
  ASSIGN_OR_RETURN(const json* ids, token.RequireArray("ids"));
  if (ids->size() != 1 || !(*ids)[0].is_number_unsigned() ||
      (*ids)[0].get<uint64_t>() >= static_cast<uint64_t>(kMaxVocabSize)) {
    return invalid();
  }
  return (*ids)[0].get<TokenId>();
}

absl::StatusOr<std::optional<TokenId>> LeadingToken(const std::string& where, const json& section) {
  std::optional<TokenId> leading;
  if (section.is_null()) return leading;
  ASSIGN_OR_RETURN(const JsonFields fields, JsonFields::Of(where, section));
  ASSIGN_OR_RETURN(const std::string type, fields.RequireText("type"));
  if (type == "ByteLevel") return leading;
  const bool is_sequence = type == "Sequence";
  if (!is_sequence && type != "TemplateProcessing") {
    return absl::UnimplementedError(absl::StrCat(fields.Where("type"), " is \"", type,
                                                 "\"; supported are TemplateProcessing, ByteLevel "
                                                 "and Sequence"));
  }
  const char* list = is_sequence ? "processors" : "single";
  ASSIGN_OR_RETURN(const json* parts, fields.RequireArray(list));
  for (size_t i = 0; i < parts->size(); ++i) {
    const json& part = (*parts)[i];
    std::optional<TokenId> found;
    if (is_sequence) {
      ASSIGN_OR_RETURN(found, LeadingToken(absl::StrCat(where, ".processors[", i, "]"), part));
    } else {
      const std::string place = absl::StrCat(where, ".single[", i, "]");
      ASSIGN_OR_RETURN(const JsonFields entry, JsonFields::Of(place, part));
      if (entry.Find("Sequence") != nullptr) break;  // the text itself
      const json* token = entry.Find("SpecialToken");
      if (token == nullptr) return entry.Invalid("SpecialToken", "is missing");
      ASSIGN_OR_RETURN(const JsonFields named, JsonFields::Of(place, *token));
      ASSIGN_OR_RETURN(const std::string name, named.RequireText("id"));
      ASSIGN_OR_RETURN(found, TemplateTokenId(fields, name));
    }
    if (!found.has_value()) continue;
    if (leading.has_value()) {
      return absl::UnimplementedError(
          absl::StrCat(where, " puts more than one token before a text"));
    }
    leading = found;
  }
  return leading;
}

}  // namespace

bool IsByteLevelBpe(const json& tokenizer) {
  const auto model = tokenizer.find("model");
  if (model == tokenizer.end() || !model->is_object()) return false;
  const auto type = model->find("type");
  // Files before tokenizers 0.9 do not say; only BPE has merges.
  const bool is_bpe = type == model->end() ? model->contains("merges") : *type == "BPE";
  return is_bpe && (HasByteLevel(SectionOf(tokenizer, "pre_tokenizer")) ||
                    HasByteLevel(SectionOf(tokenizer, "decoder")));
}

absl::StatusOr<std::vector<AddedToken>> AddedTokensFromJson(const std::string& path,
                                                            const json& tokenizer) {
  ASSIGN_OR_RETURN(const JsonFields file, JsonFields::Of(path, tokenizer));
  std::vector<AddedToken> added;
  if (file.Find("added_tokens") == nullptr) return added;
  ASSIGN_OR_RETURN(const json* entries, file.RequireArray("added_tokens"));
  for (size_t i = 0; i < entries->size(); ++i) {
    ASSIGN_OR_RETURN(
        const JsonFields entry,
        JsonFields::Of(absl::StrCat(file.Where("added_tokens"), "[", i, "]"), (*entries)[i]));
    AddedToken token;
    ASSIGN_OR_RETURN(const int64_t id, entry.RequireInt("id", 0, kMaxVocabSize - 1));
    token.id = static_cast<TokenId>(id);
    ASSIGN_OR_RETURN(token.text, entry.RequireText("content"));
    if (token.text.empty()) continue;  // never found in a text; Hugging Face skips it too
    ASSIGN_OR_RETURN(token.special, entry.Bool("special", false));
    ASSIGN_OR_RETURN(token.single_word, entry.Bool("single_word", false));
    ASSIGN_OR_RETURN(token.lstrip, entry.Bool("lstrip", false));
    ASSIGN_OR_RETURN(token.rstrip, entry.Bool("rstrip", false));
    ASSIGN_OR_RETURN(token.normalized, entry.Bool("normalized", !token.special));
    added.push_back(std::move(token));
  }
  return added;
}

absl::StatusOr<std::optional<TokenId>> LeadingTokenFromJson(const std::string& path,
                                                            const json& tokenizer) {
  return LeadingToken(absl::StrCat(path, ": post_processor"),
                      SectionOf(tokenizer, "post_processor"));
}

absl::StatusOr<BpeDefinition> BpeFromJson(const std::string& path, const json& tokenizer) {
  ASSIGN_OR_RETURN(const JsonFields file, JsonFields::Of(path, tokenizer));
  const json* section = file.Find("model");
  if (section == nullptr) return file.Invalid("model", "is missing");
  ASSIGN_OR_RETURN(const JsonFields model, JsonFields::Of(file.Where("model"), *section));
  BpeDefinition definition;
  definition.path = path;
  RETURN_IF_ERROR(ReadVocabulary(model, definition.tokens));
  RETURN_IF_ERROR(ReadMerges(model, definition));
  RETURN_IF_ERROR(ReadModelOptions(model, definition));
  ASSIGN_OR_RETURN(definition.added, AddedTokensFromJson(path, tokenizer));
  for (const AddedToken& token : definition.added) {
    RETURN_IF_ERROR(PutToken(file.Where("added_tokens"), token.text, token.id, definition.tokens));
  }
  RETURN_IF_ERROR(ReadUnknownToken(model, definition));
  definition.normalizer = SectionOf(tokenizer, "normalizer");
  definition.pre_tokenizer = SectionOf(tokenizer, "pre_tokenizer");
  return definition;
}

}  // namespace transmla
