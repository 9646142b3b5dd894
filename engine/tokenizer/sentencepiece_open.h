// Opens the module that holds libsentencepiece; sentencepiece_library.h says why it is one.
#ifndef TRANSMLA_ENGINE_TOKENIZER_SENTENCEPIECE_OPEN_H_
#define TRANSMLA_ENGINE_TOKENIZER_SENTENCEPIECE_OPEN_H_

#include <memory>

#include "absl/status/statusor.h"

#include "engine/tokenizer/sentencepiece_library.h"

namespace transmla {

// A library that has loaded nothing. The module is looked for beside the program and in
// ../lib/transmla; it stays open. FailedPrecondition, with what to install, if it cannot be opened.
// Thread-safe.
absl::StatusOr<std::unique_ptr<SentencePieceLibrary>> OpenSentencePiece();

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_TOKENIZER_SENTENCEPIECE_OPEN_H_
