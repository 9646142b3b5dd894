#include "engine/tokenizer/sentencepiece_gguf.h"

#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "engine/base/status.h"
#include "engine/tokenizer/gguf_tokens.h"
#include "engine/tokenizer/model_proto.h"

namespace transmla {
namespace {

constexpr int kBytes = 256;

absl::StatusOr<std::vector<float>> ReadScores(const GgufMetadata& metadata, size_t num_tokens) {
  constexpr absl::string_view kKey = "tokenizer.ggml.scores";
  RETURN_IF_ERROR(RequireKey(metadata, kKey));
  ASSIGN_OR_RETURN(std::vector<float> scores, metadata.GetFloats(kKey));
  if (scores.size() != num_tokens) {
    return absl::InvalidArgumentError(
        absl::StrCat(metadata.path(), ": ", kKey, " has ", scores.size(),
                     " entries but tokenizer.ggml.tokens has ", num_tokens));
  }
  for (size_t i = 0; i < scores.size(); ++i) {
    if (std::isfinite(scores[i])) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(metadata.path(), ": ", kKey, "[", i, "] is ", scores[i], ", not finite"));
  }
  return scores;
}

absl::StatusOr<bool> ReadBool(const GgufMetadata& metadata, absl::string_view key, bool otherwise) {
  if (!metadata.Has(key)) return otherwise;
  return metadata.GetBool(key);
}

}  // namespace

absl::StatusOr<GgufSentencePiece> SentencePieceFromGguf(const GgufMetadata& metadata) {
  ASSIGN_OR_RETURN(const GgufTokens tokens, ReadGgufTokens(metadata));
  ASSIGN_OR_RETURN(const std::vector<float> scores, ReadScores(metadata, tokens.texts.size()));
  GgufSentencePiece read;
  SentencePieceModel& model = read.model;
  model.pieces.resize(tokens.texts.size());
  int num_bytes = 0;
  for (size_t i = 0; i < tokens.texts.size(); ++i) {
    // The numbers of the types are the same.
    model.pieces[i] = {tokens.texts[i], scores[i], static_cast<PieceType>(tokens.types[i])};
    num_bytes += tokens.types[i] == GgufTokenType::kByte;
    if (tokens.types[i] != GgufTokenType::kUnknown) continue;
    // As a special token of Hugging Face's: its text is one where those are looked for.
    AddedToken& unknown = read.definition.added.emplace_back();
    unknown.id = static_cast<TokenId>(i);
    unknown.text = tokens.texts[i];
    unknown.special = true;
  }
  model.byte_fallback = num_bytes == kBytes;
  ASSIGN_OR_RETURN(model.add_dummy_prefix,
                   ReadBool(metadata, "tokenizer.ggml.add_space_prefix", true));
  ASSIGN_OR_RETURN(model.remove_extra_whitespaces,
                   ReadBool(metadata, "tokenizer.ggml.remove_extra_whitespaces", false));
  const auto text = [&](std::optional<TokenId> id) {
    return id.has_value() ? tokens.texts[static_cast<size_t>(*id)] : std::string();
  };
  model.unk = text(tokens.unk);
  model.bos = text(tokens.bos);
  model.pad = text(tokens.padding);
  model.eos = text(tokens.eos);
  SentencePieceDefinition& definition = read.definition;
  definition.path = metadata.path();
  definition.proto = SerializeModelProto(model);
  if (tokens.bos.has_value()) definition.bos_text = model.bos;
  definition.add_bos = tokens.add_bos.value_or(true);
  ASSIGN_OR_RETURN(definition.prefix_once, ReadBool(metadata, kGgufPrefixOnce, false));
  definition.eos = tokens.ends;
  return read;
}

}  // namespace transmla
