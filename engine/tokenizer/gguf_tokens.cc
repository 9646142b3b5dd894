#include "engine/tokenizer/gguf_tokens.h"

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"

#include "engine/base/status.h"
#include "engine/format/limits.h"
#include "engine/tokenizer/end_tokens.h"

namespace transmla {
namespace {

absl::Status ReadTexts(const GgufMetadata& metadata, GgufTokens& tokens) {
  constexpr absl::string_view kKey = "tokenizer.ggml.tokens";
  RETURN_IF_ERROR(RequireKey(metadata, kKey));
  ASSIGN_OR_RETURN(const absl::Span<const absl::string_view> texts, metadata.GetStrings(kKey));
  if (texts.empty() || texts.size() > static_cast<size_t>(kMaxVocabSize)) {
    return absl::InvalidArgumentError(absl::StrCat(metadata.path(), ": ", kKey, " has ",
                                                   texts.size(), " tokens; it must have 1 to ",
                                                   kMaxVocabSize));
  }
  tokens.texts.reserve(texts.size());
  for (const absl::string_view text : texts) tokens.texts.emplace_back(text);
  return absl::OkStatus();
}

absl::Status ReadTypes(const GgufMetadata& metadata, GgufTokens& tokens) {
  constexpr absl::string_view kKey = "tokenizer.ggml.token_type";
  tokens.types.assign(tokens.texts.size(), GgufTokenType::kNormal);
  if (!metadata.Has(kKey)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::vector<int64_t> types, metadata.GetInts(kKey));
  if (types.size() != tokens.texts.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat(metadata.path(), ": ", kKey, " has ", types.size(),
                     " entries but tokenizer.ggml.tokens has ", tokens.texts.size()));
  }
  for (size_t i = 0; i < types.size(); ++i) {
    if (types[i] < 1 || types[i] > 6) {
      return absl::InvalidArgumentError(absl::StrCat(metadata.path(), ": ", kKey, "[", i, "] is ",
                                                     types[i], "; types are 1 to 6"));
    }
    tokens.types[i] = static_cast<GgufTokenType>(types[i]);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<TokenId>> ReadId(const GgufMetadata& metadata, absl::string_view key,
                                              size_t num_tokens) {
  if (!metadata.Has(key)) return std::optional<TokenId>();
  ASSIGN_OR_RETURN(const int64_t id, metadata.GetInt(key, 0, static_cast<int64_t>(num_tokens) - 1));
  return std::optional<TokenId>(static_cast<TokenId>(id));
}

}  // namespace

absl::Status RequireKey(const GgufMetadata& metadata, absl::string_view key) {
  if (metadata.Has(key)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      metadata.path(), ": ", key, " is missing, which the tokenizer of this kind needs"));
}

std::vector<AddedToken> GgufTokens::Added() const {
  std::vector<AddedToken> added;
  for (size_t i = 0; i < texts.size(); ++i) {
    const bool special = types[i] == GgufTokenType::kControl;
    if (!special && types[i] != GgufTokenType::kUserDefined) continue;
    AddedToken token;
    token.id = static_cast<TokenId>(i);
    token.text = texts[i];
    token.special = special;
    added.push_back(std::move(token));
  }
  return added;
}

absl::StatusOr<GgufTokens> ReadGgufTokens(const GgufMetadata& metadata) {
  GgufTokens tokens;
  RETURN_IF_ERROR(ReadTexts(metadata, tokens));
  RETURN_IF_ERROR(ReadTypes(metadata, tokens));
  const size_t count = tokens.texts.size();
  ASSIGN_OR_RETURN(tokens.bos, ReadId(metadata, "tokenizer.ggml.bos_token_id", count));
  ASSIGN_OR_RETURN(tokens.unk, ReadId(metadata, "tokenizer.ggml.unknown_token_id", count));
  ASSIGN_OR_RETURN(tokens.padding, ReadId(metadata, "tokenizer.ggml.padding_token_id", count));
  ASSIGN_OR_RETURN(tokens.eos, ReadId(metadata, "tokenizer.ggml.eos_token_id", count));
  ASSIGN_OR_RETURN(const auto eot, ReadId(metadata, "tokenizer.ggml.eot_token_id", count));
  ASSIGN_OR_RETURN(const auto eom, ReadId(metadata, "tokenizer.ggml.eom_token_id", count));
  for (const std::optional<TokenId> id : {tokens.eos, eot, eom}) {
    if (id.has_value()) tokens.ends.push_back(*id);
  }
  AddKnownEndTokens(tokens.Added(), tokens.ends);
  if (metadata.Has("tokenizer.ggml.add_bos_token")) {
    ASSIGN_OR_RETURN(tokens.add_bos, metadata.GetBool("tokenizer.ggml.add_bos_token"));
  }
  return tokens;
}

}  // namespace transmla
