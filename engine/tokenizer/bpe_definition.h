// BpeDefinition: everything that defines a byte-level BPE tokenizer, whatever file it came from.
//
// Read from tokenizer.json (bpe_json.h) or from GGUF metadata (bpe_gguf.h); BpeTokenizer is made of
// it, and export.h writes it as a tokenizer.json.
#ifndef TRANSMLA_ENGINE_TOKENIZER_BPE_DEFINITION_H_
#define TRANSMLA_ENGINE_TOKENIZER_BPE_DEFINITION_H_

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include <nlohmann/json.hpp>

#include "engine/tokenizer/limits.h"
#include "engine/tokenizer/special_tokens.h"
#include "engine/tokenizer/tokenizer.h"

namespace transmla {

struct BpeDefinition {
  // For messages: the file, and what it calls the fields.
  std::string path;
  std::string tokens_field = "model.vocab";
  std::string merges_field = "model.merges";

  std::vector<std::string> tokens;  // by id, in GPT-2's byte alphabet; empty where there is none
  std::vector<std::pair<std::string, std::string>> merges;  // by rank
  std::vector<AddedToken> added;                            // their texts are in `tokens` too
  nlohmann::json normalizer;                                // sections of tokenizer.json, or null
  nlohmann::json pre_tokenizer;
  bool ignore_merges = false;  // a word that is a token is that token
  std::optional<TokenId> unk;  // for bytes without a token, which are left out otherwise
  bool fuse_unk = false;       // one for a run of them

  std::optional<TokenId> bos;
  bool add_bos = false;  // texts start with it
  std::vector<TokenId> eos;
};

// Before `count` merges are copied into `definition`.
inline absl::Status CheckMergeCount(const BpeDefinition& definition, size_t count) {
  if (count <= static_cast<size_t>(kMaxMerges)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(definition.path, ": ", definition.merges_field,
                                                 " has ", count, " merges; at most ", kMaxMerges,
                                                 " are accepted"));
}

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_TOKENIZER_BPE_DEFINITION_H_
