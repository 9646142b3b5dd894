// Reads what tokenizer.json says: added tokens, a leading bos token, a byte-level BPE model; and
// writes one.
//
// Source: the serialisation of Hugging Face's tokenizers, version 1.0.
#ifndef TRANSMLA_ENGINE_TOKENIZER_TOKENIZER_JSON_H_
#define TRANSMLA_ENGINE_TOKENIZER_TOKENIZER_JSON_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include <nlohmann/json.hpp>

#include "engine/tokenizer/bpe_definition.h"
#include "engine/tokenizer/special_tokens.h"

namespace transmla {

// Whether `tokenizer` (the whole file) is BPE over bytes, not over characters.
bool IsByteLevelBpe(const nlohmann::json& tokenizer);

// The entries of "added_tokens". InvalidArgument names file, field and value.
absl::StatusOr<std::vector<AddedToken>> AddedTokensFromJson(const std::string& path,
                                                            const nlohmann::json& tokenizer);

// The token that "post_processor" puts before a text; nothing if it puts none. What it puts behind
// a text (some models: eos) would end a prompt and is left out. Unimplemented for more than one
// token and for other processors than TemplateProcessing and ByteLevel.
absl::StatusOr<std::optional<TokenId>> LeadingTokenFromJson(const std::string& path,
                                                            const nlohmann::json& tokenizer);

// Everything but bos and eos. InvalidArgument names file, field and value; Unimplemented for
// options that byte-level models do not use (dropout, subword prefixes).
absl::StatusOr<BpeDefinition> BpeFromJson(const std::string& path, const nlohmann::json& tokenizer);

// Writing, in tokenizer_json_write.cc. REQUIRES: all texts are UTF-8.

nlohmann::json AddedTokensToJson(absl::Span<const AddedToken> tokens);

// A "post_processor" that puts the token before a text, and before each of two.
nlohmann::json LeadingTokenToJson(TokenId id, const std::string& text);

// The whole file, which Hugging Face's tokenizers and BpeFromJson read with identical ids.
nlohmann::json TokenizerJsonFromBpe(const BpeDefinition& definition);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_TOKENIZER_TOKENIZER_JSON_H_
