#include "engine/tokenizer/bpe_gguf.h"

#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"

#include "engine/base/status.h"
#include "engine/tokenizer/gguf_tokens.h"
#include "engine/tokenizer/named_pipelines.h"

namespace transmla {
namespace {

constexpr char kMerges[] = "tokenizer.ggml.merges";
constexpr char kPre[] = "tokenizer.ggml.pre";

absl::Status ReadMerges(const GgufMetadata& metadata, BpeDefinition& definition) {
  RETURN_IF_ERROR(RequireKey(metadata, kMerges));
  ASSIGN_OR_RETURN(const absl::Span<const absl::string_view> merges, metadata.GetStrings(kMerges));
  RETURN_IF_ERROR(CheckMergeCount(definition, merges.size()));
  definition.merges.reserve(merges.size());
  for (size_t i = 0; i < merges.size(); ++i) {
    const size_t space = merges[i].find(' ');
    if (space == absl::string_view::npos ||
        merges[i].find(' ', space + 1) != absl::string_view::npos) {
      return absl::InvalidArgumentError(absl::StrCat(
          metadata.path(), ": ", kMerges, "[", i, "] is \"",
          absl::Utf8SafeCHexEscape(merges[i].substr(0, 64)), "\", not two tokens and a space"));
    }
    definition.merges.emplace_back(merges[i].substr(0, space), merges[i].substr(space + 1));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<BpeDefinition> BpeFromGguf(const GgufMetadata& metadata) {
  if (!metadata.Has(kPre)) {
    return absl::InvalidArgumentError(
        absl::StrCat(metadata.path(), ": ", kPre,
                     " is missing, so how to cut texts into words is unknown; "
                     "convert the model to GGUF again with a newer converter"));
  }
  ASSIGN_OR_RETURN(const absl::string_view name, metadata.GetString(kPre));
  ASSIGN_OR_RETURN(NamedPipeline pipeline,
                   FindNamedPipeline(absl::StrCat(metadata.path(), ": ", kPre), name));
  ASSIGN_OR_RETURN(GgufTokens tokens, ReadGgufTokens(metadata));
  BpeDefinition definition;
  definition.path = metadata.path();
  definition.tokens_field = "tokenizer.ggml.tokens";
  definition.merges_field = kMerges;
  definition.added = tokens.Added();
  definition.tokens = std::move(tokens.texts);
  RETURN_IF_ERROR(ReadMerges(metadata, definition));
  definition.normalizer = std::move(pipeline.normalizer);
  definition.pre_tokenizer = std::move(pipeline.pre_tokenizer);
  definition.ignore_merges = pipeline.ignore_merges;
  definition.bos = tokens.bos;
  definition.add_bos = tokens.add_bos.value_or(pipeline.add_bos);
  definition.eos = std::move(tokens.ends);
  return definition;
}

}  // namespace transmla
