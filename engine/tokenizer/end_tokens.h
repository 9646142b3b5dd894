// The control tokens that end a generation in all models that have them.
#ifndef TRANSMLA_ENGINE_TOKENIZER_END_TOKENS_H_
#define TRANSMLA_ENGINE_TOKENIZER_END_TOKENS_H_

#include <vector>

#include "absl/types/span.h"

#include "engine/tokenizer/special_tokens.h"
#include "engine/tokenizer/tokenizer.h"

namespace transmla {

// Adds to `eos` the special tokens among `added` that end a turn or a text, sorts it and drops
// duplicates. Files often name only one: Qwen2.5's config <|endoftext|>, its template <|im_end|>.
void AddKnownEndTokens(absl::Span<const AddedToken> added, std::vector<TokenId>& eos);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_TOKENIZER_END_TOKENS_H_
