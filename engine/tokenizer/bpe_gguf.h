// Reads a byte-level BPE tokenizer from GGUF metadata (tokenizer.ggml.model = "gpt2").
#ifndef TRANSMLA_ENGINE_TOKENIZER_BPE_GGUF_H_
#define TRANSMLA_ENGINE_TOKENIZER_BPE_GGUF_H_

#include "absl/status/statusor.h"

#include "engine/format/gguf.h"
#include "engine/tokenizer/bpe_definition.h"

namespace transmla {

// InvalidArgument names file, key and value: what ReadGgufTokens checks (gguf_tokens.h), an unknown
// tokenizer.ggml.pre, a merge that is not two texts with a space between.
absl::StatusOr<BpeDefinition> BpeFromGguf(const GgufMetadata& metadata);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_TOKENIZER_BPE_GGUF_H_
