#include "engine/tokenizer/gguf_export.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "engine/base/file.h"
#include "engine/base/status.h"
#include "engine/tokenizer/bpe_definition.h"
#include "engine/tokenizer/byte_alphabet.h"
#include "engine/tokenizer/end_tokens.h"
#include "engine/tokenizer/gguf_tokens.h"
#include "engine/tokenizer/hf_definitions.h"
#include "engine/tokenizer/hf_files.h"
#include "engine/tokenizer/load.h"
#include "engine/tokenizer/model_proto.h"
#include "engine/tokenizer/named_pipelines.h"
#include "engine/tokenizer/sentencepiece_gguf.h"
#include "engine/tokenizer/tokenizer_json.h"

namespace transmla {
namespace {

// Of a piece that no model was trained to make; what llama.cpp's converter writes.
constexpr float kAddedScore = -1000;

absl::Status Unsaid(const std::string& path, absl::string_view what) {
  return absl::UnimplementedError(absl::StrCat(path, ": GGUF cannot say ", what,
                                               "; choose an output format that is a folder, ",
                                               "or convert a GGUF file of the model"));
}

// The tokens' texts and types, by id.
struct Tokens {
  std::vector<std::string> texts;
  std::vector<GgufTokenType> types;

  // An id without a token gets one that is not used.
  void Put(size_t id, const std::string& text, GgufTokenType type) {
    for (size_t i = texts.size(); i <= id; ++i) {
      texts.push_back(absl::StrCat("[PAD", i, "]"));
      types.push_back(GgufTokenType::kUnused);
    }
    texts[id] = text;
    types[id] = type;
  }
};

GgufTokenType TypeOf(const AddedToken& token) {
  return token.special ? GgufTokenType::kControl : GgufTokenType::kUserDefined;
}

template <typename T>
std::string BytesOf(absl::Span<const T> values) {
  std::string bytes(values.size() * sizeof(T), '\0');
  if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

// Byte-level BPE leaves a byte without a token out, or makes it the unknown token: GGUF's does the
// first.
bool MakesUnknown(const BpeDefinition& definition) {
  if (!definition.unk.has_value()) return false;
  for (int byte = 0; byte < 256; ++byte) {
    if (!absl::c_linear_search(definition.tokens, AlphabetCharacter(static_cast<uint8_t>(byte)))) {
      return true;
    }
  }
  return false;
}

bool IsAscii(absl::string_view text) {
  return absl::c_all_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

// What added tokens do beyond being found where they stand.
absl::Status CheckAdded(const std::string& path, absl::Span<const AddedToken> added) {
  for (const AddedToken& token : added) {
    if (!token.lstrip && !token.rstrip && !token.single_word) continue;
    return Unsaid(path, absl::StrCat("that added token \"", token.text, "\" has ",
                                     token.single_word ? "single_word"
                                     : token.lstrip    ? "lstrip"
                                                       : "rstrip"));
  }
  return absl::OkStatus();
}

absl::Status CheckBpe(const BpeDefinition& definition) {
  RETURN_IF_ERROR(CheckAdded(definition.path, definition.added));
  for (const AddedToken& token : definition.added) {
    // Those that are looked for in the normalised text, where that could differ.
    if (!token.normalized || definition.normalizer.is_null() || IsAscii(token.text)) continue;
    return Unsaid(definition.path,
                  absl::StrCat("that added token \"", token.text, "\" has normalized"));
  }
  if (MakesUnknown(definition)) {
    return Unsaid(definition.path, "that bytes without a token become unk_token");
  }
  for (const auto& [left, right] : definition.merges) {
    if (absl::StrContains(left, ' ') || absl::StrContains(right, ' ')) {
      return Unsaid(definition.path, absl::StrCat("that the merge of \"", left, "\" and \"", right,
                                                  "\" is of tokens with spaces"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

// Reads a folder and fills a GgufTokenizer.
class GgufTokenizerBuilder {
 public:
  GgufTokenizerBuilder(const CheckpointReader& checkpoint, HfTokenizerFiles files,
                       LoadedTokenizer loaded, int64_t num_tokens)
      : config_(checkpoint.config()),
        files_(std::move(files)),
        tokenizer_(std::move(loaded.tokenizer)),
        num_tokens_(static_cast<size_t>(std::max<int64_t>(0, num_tokens))) {}

  absl::StatusOr<std::unique_ptr<const GgufTokenizer>> Build() {
    RETURN_IF_ERROR(IsByteLevelBpe(files_.tokenizer_json) ? AddBpe() : AddSentencePiece());
    if (files_.chat_template.has_value()) {
      made_->Text("tokenizer.chat_template", *files_.chat_template);
    }
    return std::unique_ptr<const GgufTokenizer>(std::move(made_));
  }

 private:
  absl::Status AddBpe() {
    ASSIGN_OR_RETURN(const BpeDefinition definition, BpeFromHf(files_, config_));
    RETURN_IF_ERROR(CheckBpe(definition));
    const absl::string_view pre = NameOfPipeline({.normalizer = definition.normalizer,
                                                  .pre_tokenizer = definition.pre_tokenizer,
                                                  .ignore_merges = definition.ignore_merges});
    if (pre.empty()) {
      return Unsaid(
          definition.path,
          "what its normalizer, pre_tokenizer and ignore_merges do together: it has names "
          "for gpt-2, llama-bpe, qwen2 and smollm");
    }
    Tokens tokens;
    for (size_t id = 0; id < definition.tokens.size(); ++id) {
      if (!definition.tokens[id].empty()) {
        tokens.Put(id, definition.tokens[id], GgufTokenType::kNormal);
      }
    }
    for (const AddedToken& token : definition.added) {
      tokens.types[static_cast<size_t>(token.id)] = TypeOf(token);
    }
    std::vector<std::string> merges;
    merges.reserve(definition.merges.size());
    for (const auto& [left, right] : definition.merges) {
      merges.push_back(absl::StrCat(left, " ", right));
    }
    made_->Text("tokenizer.ggml.model", "gpt2");
    made_->Text("tokenizer.ggml.pre", std::string(pre));
    made_->Id("tokenizer.ggml.unknown_token_id", definition.unk);
    made_->Texts("tokenizer.ggml.merges", std::move(merges));
    made_->Flag("tokenizer.ggml.add_bos_token", definition.add_bos);
    return AddTokens(definition.path, definition.added, std::move(tokens));
  }

  absl::Status AddSentencePiece() {
    ASSIGN_OR_RETURN(const SentencePieceDefinition definition,
                     SentencePieceFromHf(files_, config_));
    ASSIGN_OR_RETURN(const SentencePieceModel model,
                     ParseModelProto(definition.path, definition.proto));
    RETURN_IF_ERROR(CheckSentencePiece(definition, model));
    Tokens tokens;
    std::vector<float> scores;
    for (const SentencePiece& piece : model.pieces) {
      // The numbers of the types are the same.
      tokens.Put(tokens.texts.size(), piece.text, static_cast<GgufTokenType>(piece.type));
      scores.push_back(piece.score);
      if (piece.type == PieceType::kUnknown) unk_ = static_cast<TokenId>(scores.size()) - 1;
    }
    for (const AddedToken& token : definition.added) {
      const auto id = static_cast<size_t>(token.id);
      if (id >= model.pieces.size()) {
        tokens.Put(id, token.text, TypeOf(token));
      } else if (token.special && token.id != unk_) {
        tokens.types[id] = GgufTokenType::kControl;
      }
    }
    scores.resize(std::max(tokens.texts.size(), num_tokens_), kAddedScore);
    made_->Text("tokenizer.ggml.model", "llama");
    made_->Text("tokenizer.ggml.pre", "default");
    made_->Scalars("tokenizer.ggml.scores", GgufType::kFloat32, scores.size(),
                   BytesOf<float>(scores));
    made_->Id("tokenizer.ggml.unknown_token_id", unk_);
    made_->Flag("tokenizer.ggml.add_bos_token",
                definition.add_bos && tokenizer_->bos().has_value());
    made_->Flag("tokenizer.ggml.add_space_prefix", model.add_dummy_prefix);
    made_->Flag("tokenizer.ggml.remove_extra_whitespaces", model.remove_extra_whitespaces);
    if (definition.prefix_once && model.add_dummy_prefix) made_->Flag(kGgufPrefixOnce, true);
    return AddTokens(definition.path, definition.added, std::move(tokens));
  }

  absl::Status CheckSentencePiece(const SentencePieceDefinition& definition,
                                  const SentencePieceModel& model) const {
    if (model.is_unigram) return Unsaid(definition.path, "that its model is unigram, not BPE");
    RETURN_IF_ERROR(CheckAdded(definition.path, definition.added));
    for (const AddedToken& token : definition.added) {
      // As a piece it would get no space behind it, nor one before it at a text's start.
      const bool beyond = token.id >= static_cast<TokenId>(model.pieces.size());
      if (!beyond || token.special || !model.add_dummy_prefix) continue;
      return Unsaid(definition.path, absl::StrCat("that \"", token.text,
                                                  "\" is an added token of text (not special) ",
                                                  "beside the model's pieces"));
    }
    return absl::OkStatus();
  }

  // Texts, types and the roles of ids.
  absl::Status AddTokens(const std::string& path, absl::Span<const AddedToken> added,
                         Tokens tokens) {
    while (tokens.texts.size() < num_tokens_) {
      tokens.Put(tokens.texts.size(), absl::StrCat("[PAD", tokens.texts.size(), "]"),
                 GgufTokenType::kUnused);
    }
    std::vector<int32_t> types(tokens.types.size());
    absl::c_transform(tokens.types, types.begin(),
                      [](GgufTokenType type) { return static_cast<int32_t>(type); });
    const auto count = static_cast<int64_t>(types.size());
    made_->Texts("tokenizer.ggml.tokens", std::move(tokens.texts));
    made_->Scalars("tokenizer.ggml.token_type", GgufType::kInt32, count, BytesOf<int32_t>(types));
    made_->Id("tokenizer.ggml.bos_token_id", tokenizer_->bos());
    if (files_.pad_text.has_value()) {
      made_->Id("tokenizer.ggml.padding_token_id", tokenizer_->Find(*files_.pad_text));
    }
    return AddEnds(path, added);
  }

  // GGUF has three keys for ids that end a text; others must be known by their texts.
  absl::Status AddEnds(const std::string& path, absl::Span<const AddedToken> added) {
    std::vector<TokenId> ends(tokenizer_->eos().begin(), tokenizer_->eos().end());
    std::optional<TokenId> eos;
    if (files_.eos_text.has_value()) eos = tokenizer_->Find(*files_.eos_text);
    if (!eos.has_value() && !config_.eos_token_ids.empty()) {
      eos = static_cast<TokenId>(config_.eos_token_ids.front());
    }
    if (!eos.has_value() && !ends.empty()) eos = ends.front();
    made_->Id("tokenizer.ggml.eos_token_id", eos);
    std::vector<TokenId> known;
    AddKnownEndTokens(added, known);
    std::vector<TokenId> others;
    for (const TokenId id : ends) {
      if (id != eos && !absl::c_linear_search(known, id)) others.push_back(id);
    }
    constexpr const char* kKeys[] = {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"};
    if (others.size() > std::size(kKeys)) {
      return Unsaid(path,
                    absl::StrCat("that it has ", ends.size(), " tokens that end a text, of which ",
                                 others.size() + 1, " are not known by their texts"));
    }
    for (size_t i = 0; i < others.size(); ++i) made_->Id(kKeys[i], others[i]);
    return absl::OkStatus();
  }

  const Config& config_;
  const HfTokenizerFiles files_;
  const std::shared_ptr<const Tokenizer> tokenizer_;
  const size_t num_tokens_;
  std::optional<TokenId> unk_;
  std::unique_ptr<GgufTokenizer> made_{new GgufTokenizer()};
};

absl::StatusOr<std::unique_ptr<const GgufTokenizer>> GgufTokenizer::FromFolder(
    const CheckpointReader& checkpoint, int64_t num_tokens) {
  absl::StatusOr<LoadedTokenizer> loaded = LoadTokenizer(checkpoint);
  if (absl::IsNotFound(loaded.status())) {
    return std::unique_ptr<const GgufTokenizer>(new GgufTokenizer());
  }
  RETURN_IF_ERROR(loaded.status());
  FileSystem& file_system = *PosixFileSystem();
  ASSIGN_OR_RETURN(HfTokenizerFiles files,
                   ReadHfTokenizerFiles(file_system, TokenizerFolder(file_system, checkpoint)));
  return GgufTokenizerBuilder(checkpoint, std::move(files), *std::move(loaded), num_tokens).Build();
}

void GgufTokenizer::Text(absl::string_view key, std::string text) {
  const std::string& kept = storage_.emplace_back(std::move(text));
  entries_.push_back({std::string(key), {GgufType::kString, absl::string_view(kept)}});
}

void GgufTokenizer::Flag(absl::string_view key, bool value) {
  entries_.push_back({std::string(key), {GgufType::kBool, value}});
}

void GgufTokenizer::Id(absl::string_view key, std::optional<TokenId> id) {
  if (!id.has_value()) return;
  entries_.push_back({std::string(key), {GgufType::kUint32, static_cast<uint64_t>(*id)}});
}

void GgufTokenizer::Texts(absl::string_view key, std::vector<std::string> texts) {
  GgufArray array{.element_type = GgufType::kString, .count = static_cast<int64_t>(texts.size())};
  array.strings.reserve(texts.size());
  for (std::string& text : texts) array.strings.push_back(storage_.emplace_back(std::move(text)));
  entries_.push_back({std::string(key), {GgufType::kArray, std::move(array)}});
}

void GgufTokenizer::Scalars(absl::string_view key, GgufType type, int64_t count,
                            std::string bytes) {
  GgufArray array{.element_type = type, .count = count};
  array.scalars = storage_.emplace_back(std::move(bytes));
  entries_.push_back({std::string(key), {GgufType::kArray, std::move(array)}});
}

}  // namespace transmla
