// Finds the tokenizer and chat template of a checkpoint.
#ifndef TRANSMLA_ENGINE_TOKENIZER_LOAD_H_
#define TRANSMLA_ENGINE_TOKENIZER_LOAD_H_

#include <memory>

#include "absl/status/statusor.h"

#include "engine/format/checkpoint.h"
#include "engine/tokenizer/chat_template.h"
#include "engine/tokenizer/tokenizer.h"

namespace transmla {

struct LoadedTokenizer {
  std::shared_ptr<const Tokenizer> tokenizer;
  std::shared_ptr<const ChatTemplate> chat_template;  // null if the model has none
};

// From GGUF metadata, or from tokenizer.json, tokenizer_config.json and tokenizer.model of a
// folder. NotFound if there is no tokenizer; InvalidArgument naming file, field and value if it is
// broken or of an unknown kind; Unimplemented for options of tokenizer.json that are not supported.
absl::StatusOr<LoadedTokenizer> LoadTokenizer(const CheckpointReader& checkpoint);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_TOKENIZER_LOAD_H_
