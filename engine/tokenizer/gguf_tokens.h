// What GGUF metadata says about any tokenizer: the types of its tokens and which ids have a role.
//
// Source: the GGUF specification, "Tokenizer", and llama.cpp's keys beyond it.
#ifndef TRANSMLA_ENGINE_TOKENIZER_GGUF_TOKENS_H_
#define TRANSMLA_ENGINE_TOKENIZER_GGUF_TOKENS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "engine/format/gguf.h"
#include "engine/tokenizer/special_tokens.h"
#include "engine/tokenizer/tokenizer.h"

namespace transmla {

// tokenizer.ggml.token_type; the numbers are SentencePiece's too.
enum class GgufTokenType : uint8_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

struct GgufTokens {
  std::vector<std::string> texts;    // by id
  std::vector<GgufTokenType> types;  // as many
  std::optional<TokenId> bos;
  std::optional<TokenId> unk;
  std::optional<TokenId> padding;
  std::optional<TokenId> eos;   // the one that the chat template calls eos_token
  std::vector<TokenId> ends;    // ends of text, turn and message; sorted
  std::optional<bool> add_bos;  // none: the file does not say

  // Control and user-defined tokens.
  std::vector<AddedToken> Added() const;
};

// InvalidArgument if there is no such key: a file that has a tokenizer has all of it.
absl::Status RequireKey(const GgufMetadata& metadata, absl::string_view key);

// InvalidArgument, naming file, key and value, for arrays of different lengths, unknown types and
// ids out of range.
absl::StatusOr<GgufTokens> ReadGgufTokens(const GgufMetadata& metadata);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_TOKENIZER_GGUF_TOKENS_H_
