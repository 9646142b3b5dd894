// The pipelines that GGUF's tokenizer.ggml.pre names.
//
// GGUF names a pre-tokeniser instead of describing it. Each pipeline here is the description from
// the model family's own tokenizer.json.
#ifndef TRANSMLA_ENGINE_TOKENIZER_NAMED_PIPELINES_H_
#define TRANSMLA_ENGINE_TOKENIZER_NAMED_PIPELINES_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include <nlohmann/json.hpp>

namespace transmla {

struct NamedPipeline {
  nlohmann::json normalizer;  // sections of tokenizer.json, or null
  nlohmann::json pre_tokenizer;
  bool ignore_merges = false;
  bool add_bos = false;  // where the file does not say
};

// `where` names file and field. InvalidArgument, with the names that are known, for another one.
absl::StatusOr<NamedPipeline> FindNamedPipeline(const std::string& where, absl::string_view name);

// The name of what does the same with every text, or an empty one. `pipeline.add_bos` is not looked
// at.
absl::string_view NameOfPipeline(const NamedPipeline& pipeline);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_TOKENIZER_NAMED_PIPELINES_H_
