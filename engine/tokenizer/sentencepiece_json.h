// Writes a SentencePiece BPE model as a tokenizer.json, for Hugging Face's tokenizers.
#ifndef TRANSMLA_ENGINE_TOKENIZER_SENTENCEPIECE_JSON_H_
#define TRANSMLA_ENGINE_TOKENIZER_SENTENCEPIECE_JSON_H_

#include <nlohmann/json.hpp>

#include "engine/tokenizer/model_proto.h"

namespace transmla {

// The whole file, as Llama 2's own: BPE over characters with byte fallback, where a text's spaces
// become U+2581 and one is put in front. The ids are SentencePiece's, but behind a user-defined
// piece inside a text Hugging Face's pipeline puts a space where SentencePiece puts none (if
// add_dummy_prefix), and pieces of equal score are merged by id, not from left to right.
// REQUIRES: the model is BPE, keeps extra white space, and its texts are UTF-8.
nlohmann::json TokenizerJsonFromSentencePiece(const SentencePieceModel& model, bool add_bos);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_TOKENIZER_SENTENCEPIECE_JSON_H_
