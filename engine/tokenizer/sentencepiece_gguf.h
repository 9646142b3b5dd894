// Reads a SentencePiece BPE tokenizer from GGUF metadata (tokenizer.ggml.model = "llama").
#ifndef TRANSMLA_ENGINE_TOKENIZER_SENTENCEPIECE_GGUF_H_
#define TRANSMLA_ENGINE_TOKENIZER_SENTENCEPIECE_GGUF_H_

#include "absl/status/statusor.h"

#include "engine/format/gguf.h"
#include "engine/tokenizer/model_proto.h"
#include "engine/tokenizer/sentencepiece_tokenizer.h"

namespace transmla {

// SentencePieceDefinition::prefix_once; a key of ours.
inline constexpr char kGgufPrefixOnce[] = "tokenizer.transmla.space_prefix_once";

struct GgufSentencePiece {
  SentencePieceModel model;
  SentencePieceDefinition definition;  // with the model as its proto
};

// InvalidArgument names file, key and value: what ReadGgufTokens checks (gguf_tokens.h), scores
// that are missing, too few or not finite.
absl::StatusOr<GgufSentencePiece> SentencePieceFromGguf(const GgufMetadata& metadata);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_TOKENIZER_SENTENCEPIECE_GGUF_H_
