#include "engine/tokenizer/bpe_tokenizer.h"

#include <utility>

#include "absl/strings/str_cat.h"

#include "engine/base/status.h"
#include "engine/base/utf8.h"
#include "engine/tokenizer/byte_alphabet.h"
#include "engine/tokenizer/limits.h"

namespace transmla {
namespace {

absl::Status CheckAddedTokens(const BpeDefinition& definition, const Vocabulary& vocabulary) {
  if (definition.added.size() > static_cast<size_t>(kMaxAddedTokens)) {
    return absl::InvalidArgumentError(absl::StrCat(definition.path, ": ", definition.added.size(),
                                                   " added tokens; at most ", kMaxAddedTokens,
                                                   " are accepted"));
  }
  for (const AddedToken& token : definition.added) {
    if (token.text.size() > static_cast<size_t>(kMaxAddedTokenBytes)) {
      return absl::InvalidArgumentError(absl::StrCat(definition.path, ": added token ", token.id,
                                                     " has ", token.text.size(), " bytes; at most ",
                                                     kMaxAddedTokenBytes, " are accepted"));
    }
    if (vocabulary.Text(token.id) != token.text) {
      return absl::InvalidArgumentError(
          absl::StrCat(definition.path, ": added token ", token.id, " is \"", token.text, "\" but ",
                       definition.tokens_field, " has \"", vocabulary.Text(token.id), "\" there"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckIds(const BpeDefinition& definition, const Vocabulary& vocabulary) {
  const auto check = [&](absl::string_view what, TokenId id) {
    if (vocabulary.Has(id)) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(definition.path, ": the ", what, " is ", id,
                                                   ", but the tokenizer has only ",
                                                   vocabulary.size(), " tokens"));
  };
  if (definition.bos.has_value()) RETURN_IF_ERROR(check("bos token", *definition.bos));
  if (definition.unk.has_value()) RETURN_IF_ERROR(check("unknown token", *definition.unk));
  for (const TokenId id : definition.eos) RETURN_IF_ERROR(check("end-of-text token", id));
  if (definition.add_bos && !definition.bos.has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat(definition.path, ": texts start with a bos token, but none is named"));
  }
  return absl::OkStatus();
}

// The added tokens that are looked for in the raw, or in the normalised text.
std::vector<AddedToken> Added(const BpeDefinition& definition, bool normalized,
                              const Normalizer& normalizer) {
  std::vector<AddedToken> out;
  for (AddedToken token : definition.added) {
    if (token.normalized != normalized) continue;
    if (normalized) token.text = normalizer.Normalize(ReplaceInvalidUtf8(token.text));
    out.push_back(std::move(token));
  }
  return out;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const BpeTokenizer>> BpeTokenizer::Create(BpeDefinition definition) {
  ASSIGN_OR_RETURN(Vocabulary vocabulary,
                   Vocabulary::Create(absl::StrCat(definition.path, ": ", definition.tokens_field),
                                      std::move(definition.tokens)));
  RETURN_IF_ERROR(CheckAddedTokens(definition, vocabulary));
  RETURN_IF_ERROR(CheckIds(definition, vocabulary));
  ASSIGN_OR_RETURN(
      Normalizer normalizer,
      Normalizer::FromJson(absl::StrCat(definition.path, ": normalizer"), definition.normalizer));
  ASSIGN_OR_RETURN(Pretokenizer pretokenizer,
                   Pretokenizer::FromJson(absl::StrCat(definition.path, ": pre_tokenizer"),
                                          definition.pre_tokenizer));
  if (!pretokenizer.byte_level()) {
    return absl::UnimplementedError(
        absl::StrCat(definition.path,
                     ": pre_tokenizer has no ByteLevel step; BPE over characters is not "
                     "supported"));
  }
  ASSIGN_OR_RETURN(ByteBpe bpe, ByteBpe::Create(definition, vocabulary));
  return std::shared_ptr<const BpeTokenizer>(new BpeTokenizer(definition, std::move(vocabulary),
                                                              std::move(bpe), std::move(normalizer),
                                                              std::move(pretokenizer)));
}

BpeTokenizer::BpeTokenizer(const BpeDefinition& definition, Vocabulary vocabulary, ByteBpe bpe,
                           Normalizer normalizer, Pretokenizer pretokenizer)
    : vocabulary_(std::move(vocabulary)),
      bpe_(std::move(bpe)),
      normalizer_(std::move(normalizer)),
      pretokenizer_(std::move(pretokenizer)),
      raw_added_(Added(definition, false, normalizer_)),
      normalized_added_(Added(definition, true, normalizer_)),
      bos_(definition.bos),
      add_bos_(definition.add_bos),
      eos_(definition.eos),
      kinds_(static_cast<size_t>(vocabulary_.size()), Kind::kNormal) {
  for (const AddedToken& token : definition.added) {
    kinds_[static_cast<size_t>(token.id)] = token.special ? Kind::kControl : Kind::kAdded;
  }
}

absl::StatusOr<std::vector<TokenId>> BpeTokenizer::Encode(absl::string_view text,
                                                          const EncodeOptions& options) const {
  if (text.size() > kMaxTextBytes) {
    return absl::InvalidArgumentError(absl::StrCat("the text has ", text.size(), " bytes; at most ",
                                                   kMaxTextBytes, " can be tokenised"));
  }
  const std::string valid = ReplaceInvalidUtf8(text);
  std::vector<TokenId> ids;
  if (options.add_bos && add_bos_) ids.push_back(*bos_);
  std::vector<SpecialTokens::Part> parts;
  raw_added_.Split(valid, options.parse_special, parts);
  ByteBpe::Scratch scratch;
  for (const SpecialTokens::Part& part : parts) {
    if (part.id.has_value()) {
      ids.push_back(*part.id);
    } else {
      RETURN_IF_ERROR(EncodeSection(part.text, options.parse_special, scratch, ids));
    }
  }
  return ids;
}

absl::Status BpeTokenizer::EncodeSection(absl::string_view text, bool parse_special,
                                         ByteBpe::Scratch& scratch,
                                         std::vector<TokenId>& ids) const {
  std::string normalized;
  if (normalizer_.changes_text()) {
    normalized = normalizer_.Normalize(text);
    text = normalized;
  }
  if (normalized_added_.empty()) return EncodeWords(text, scratch, ids);
  std::vector<SpecialTokens::Part> parts;
  normalized_added_.Split(text, parse_special, parts);
  for (const SpecialTokens::Part& part : parts) {
    if (part.id.has_value()) {
      ids.push_back(*part.id);
    } else {
      RETURN_IF_ERROR(EncodeWords(part.text, scratch, ids));
    }
  }
  return absl::OkStatus();
}

absl::Status BpeTokenizer::EncodeWords(absl::string_view text, ByteBpe::Scratch& scratch,
                                       std::vector<TokenId>& ids) const {
  Words words;
  RETURN_IF_ERROR(pretokenizer_.Split(text, words));
  for (const absl::string_view word : words.pieces) bpe_.Encode(word, scratch, ids);
  return absl::OkStatus();
}

std::string BpeTokenizer::TokenBytes(TokenId id) const {
  if (!vocabulary_.Has(id) || IsControl(id)) return "";
  const absl::string_view text = vocabulary_.Text(id);
  if (kinds_[static_cast<size_t>(id)] == Kind::kAdded) return std::string(text);
  // As Hugging Face's decoder: a token outside the byte alphabet stands for its own text.
  return BytesFromAlphabet(text).value_or(std::string(text));
}

bool BpeTokenizer::IsControl(TokenId id) const {
  return vocabulary_.Has(id) && kinds_[static_cast<size_t>(id)] == Kind::kControl;
}

std::string BpeTokenizer::TokenText(TokenId id) const { return std::string(vocabulary_.Text(id)); }

std::optional<TokenId> BpeTokenizer::Find(absl::string_view token_text) const {
  return vocabulary_.Find(token_text);
}

}  // namespace transmla
