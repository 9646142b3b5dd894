// From the files of a Hugging Face folder to the definition of its tokenizer.
#ifndef TRANSMLA_ENGINE_TOKENIZER_HF_DEFINITIONS_H_
#define TRANSMLA_ENGINE_TOKENIZER_HF_DEFINITIONS_H_

#include "absl/status/statusor.h"

#include "engine/format/config.h"
#include "engine/tokenizer/bpe_definition.h"
#include "engine/tokenizer/hf_files.h"
#include "engine/tokenizer/sentencepiece_tokenizer.h"

namespace transmla {

// tokenizer.json with the roles that tokenizer_config.json and `config` give to tokens. Whether a
// text starts with bos is add_bos_token's word, else the post-processor's.
// InvalidArgument names file, field and value. REQUIRES: IsByteLevelBpe(files.tokenizer_json).
absl::StatusOr<BpeDefinition> BpeFromHf(const HfTokenizerFiles& files, const Config& config);

// tokenizer.model, with the added tokens of tokenizer.json or tokenizer_config.json.
// InvalidArgument names file, field and value. REQUIRES: files.sentencepiece has a value.
absl::StatusOr<SentencePieceDefinition> SentencePieceFromHf(const HfTokenizerFiles& files,
                                                            const Config& config);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_TOKENIZER_HF_DEFINITIONS_H_
