// Writes the tokenizer files that a converted model's folder needs.
#ifndef TRANSMLA_ENGINE_TOKENIZER_EXPORT_H_
#define TRANSMLA_ENGINE_TOKENIZER_EXPORT_H_

#include <string>

#include "absl/status/status.h"

#include "engine/base/file.h"
#include "engine/format/checkpoint.h"

namespace transmla {

// Copies the tokenizer files of a folder source, or writes tokenizer.json and tokenizer_config.json
// from GGUF metadata such that Hugging Face's AutoTokenizer and LoadTokenizer both read them with
// identical ids.
absl::Status WriteTokenizerFiles(const CheckpointReader& source, FileSystem* files,
                                 const std::string& directory);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_TOKENIZER_EXPORT_H_
