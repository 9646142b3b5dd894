#include "engine/tokenizer/load.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

#include "engine/base/file.h"
#include "engine/base/status.h"
#include "engine/format/gguf_reader.h"
#include "engine/tokenizer/bpe_gguf.h"
#include "engine/tokenizer/bpe_tokenizer.h"
#include "engine/tokenizer/hf_definitions.h"
#include "engine/tokenizer/hf_files.h"
#include "engine/tokenizer/sentencepiece_gguf.h"
#include "engine/tokenizer/sentencepiece_tokenizer.h"
#include "engine/tokenizer/tokenizer_json.h"

namespace transmla {
namespace {

constexpr char kGgufTemplate[] = "tokenizer.chat_template";

std::string TextOf(const Tokenizer& tokenizer, std::optional<TokenId> id) {
  return id.has_value() ? tokenizer.TokenText(*id) : "";
}

// A text can become any id, so each must have a row in the embedding.
absl::Status CheckSize(const CheckpointReader& checkpoint, const Tokenizer& tokenizer) {
  const int64_t rows = checkpoint.config().vocab_size;
  if (rows == 0 || tokenizer.vocab_size() <= rows) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(checkpoint.path(), ": the tokenizer has ",
                                                 tokenizer.vocab_size(),
                                                 " tokens but the model's vocab_size is ", rows));
}

absl::StatusOr<LoadedTokenizer> LoadFromGguf(const GgufReader& reader) {
  const GgufMetadata& metadata = reader.metadata();
  constexpr char kModel[] = "tokenizer.ggml.model";
  if (!metadata.Has(kModel)) {
    return absl::NotFoundError(
        absl::StrCat(metadata.path(), ": ", kModel, " is missing: the file has no tokenizer"));
  }
  ASSIGN_OR_RETURN(const absl::string_view model, metadata.GetString(kModel));
  LoadedTokenizer loaded;
  if (model == "gpt2") {
    ASSIGN_OR_RETURN(BpeDefinition definition, BpeFromGguf(metadata));
    ASSIGN_OR_RETURN(loaded.tokenizer, BpeTokenizer::Create(std::move(definition)));
  } else if (model == "llama") {
    ASSIGN_OR_RETURN(const GgufSentencePiece read, SentencePieceFromGguf(metadata));
    ASSIGN_OR_RETURN(loaded.tokenizer, SentencePieceTokenizer::Create(read.definition));
  } else {
    return absl::InvalidArgumentError(absl::StrCat(metadata.path(), ": ", kModel, " is \"", model,
                                                   "\"; supported are gpt2 and llama"));
  }
  if (metadata.Has(kGgufTemplate)) {
    ASSIGN_OR_RETURN(const absl::string_view source, metadata.GetString(kGgufTemplate));
    const Tokenizer& tokenizer = *loaded.tokenizer;
    constexpr char kEos[] = "tokenizer.ggml.eos_token_id";
    std::optional<TokenId> eos;
    if (metadata.Has(kEos)) {
      ASSIGN_OR_RETURN(const int64_t id, metadata.GetInt(kEos, 0, tokenizer.vocab_size() - 1));
      eos = static_cast<TokenId>(id);
    }
    auto parsed = ChatTemplate::Parse(std::string(source), TextOf(tokenizer, tokenizer.bos()),
                                      TextOf(tokenizer, eos));
    RETURN_IF_ERROR(Annotate(parsed.status(), absl::StrCat(metadata.path(), ": ", kGgufTemplate)));
    loaded.chat_template = *std::move(parsed);
  }
  return loaded;
}

absl::StatusOr<LoadedTokenizer> LoadFromFolder(const CheckpointReader& checkpoint) {
  FileSystem& file_system = *PosixFileSystem();
  const std::string folder = TokenizerFolder(file_system, checkpoint);
  ASSIGN_OR_RETURN(const HfTokenizerFiles files, ReadHfTokenizerFiles(file_system, folder));
  const Config& config = checkpoint.config();
  LoadedTokenizer loaded;
  if (IsByteLevelBpe(files.tokenizer_json)) {
    ASSIGN_OR_RETURN(BpeDefinition definition, BpeFromHf(files, config));
    ASSIGN_OR_RETURN(loaded.tokenizer, BpeTokenizer::Create(std::move(definition)));
  } else if (files.sentencepiece.has_value()) {
    ASSIGN_OR_RETURN(const SentencePieceDefinition definition, SentencePieceFromHf(files, config));
    ASSIGN_OR_RETURN(loaded.tokenizer, SentencePieceTokenizer::Create(definition));
  } else if (files.tokenizer_json.is_null()) {
    return absl::NotFoundError(
        absl::StrCat(folder, ": has neither tokenizer.json nor tokenizer.model"));
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat(files.tokenizer_json_path,
                     ": model is no byte-level BPE, which alone is read from this file; put the "
                     "model's tokenizer.model beside it"));
  }
  if (files.chat_template.has_value()) {
    auto parsed = ChatTemplate::Parse(*files.chat_template, files.bos_text.value_or(""),
                                      files.eos_text.value_or(""));
    RETURN_IF_ERROR(Annotate(parsed.status(), files.chat_template_path));
    loaded.chat_template = *std::move(parsed);
  }
  return loaded;
}

}  // namespace

absl::StatusOr<LoadedTokenizer> LoadTokenizer(const CheckpointReader& checkpoint) {
  LoadedTokenizer loaded;
  if (const auto* gguf = dynamic_cast<const GgufReader*>(&checkpoint)) {
    ASSIGN_OR_RETURN(loaded, LoadFromGguf(*gguf));
  } else {
    ASSIGN_OR_RETURN(loaded, LoadFromFolder(checkpoint));
  }
  RETURN_IF_ERROR(CheckSize(checkpoint, *loaded.tokenizer));
  return loaded;
}

}  // namespace transmla
