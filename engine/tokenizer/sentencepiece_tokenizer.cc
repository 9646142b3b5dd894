#include "engine/tokenizer/sentencepiece_tokenizer.h"

#include <string_view>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

#include "engine/base/status.h"
#include "engine/base/utf8.h"
#include "engine/tokenizer/end_tokens.h"
#include "engine/tokenizer/limits.h"
#include "engine/tokenizer/model_proto.h"
#include "engine/tokenizer/sentencepiece_open.h"

namespace transmla {
namespace {

constexpr absl::string_view kSpacePiece = "\xE2\x96\x81";        // U+2581
constexpr absl::string_view kUnknownSurface = " \xE2\x81\x87 ";  // as the library decodes it

using Library = std::unique_ptr<const SentencePieceLibrary>;

absl::StatusOr<Library> Load(const std::string& path, const std::string& proto) {
  ASSIGN_OR_RETURN(std::unique_ptr<SentencePieceLibrary> library, OpenSentencePiece());
  const std::string wrong = library->Load(proto);
  if (!wrong.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": SentencePiece does not accept the model: ", wrong));
  }
  return library;
}

// The texts of all tokens; `added` may go beyond the pieces, or repeat one.
absl::StatusOr<std::vector<std::string>> Texts(const SentencePieceDefinition& definition,
                                               const SentencePieceLibrary& library) {
  std::vector<std::string> texts;
  texts.reserve(static_cast<size_t>(library.size()) + definition.added.size());
  for (int id = 0; id < library.size(); ++id) texts.push_back(library.Piece(id));
  if (definition.added.size() > static_cast<size_t>(kMaxAddedTokens)) {
    return absl::InvalidArgumentError(absl::StrCat(definition.path, ": ", definition.added.size(),
                                                   " added tokens; at most ", kMaxAddedTokens,
                                                   " are accepted"));
  }
  const int64_t most = static_cast<int64_t>(texts.size()) + kMaxAddedTokens;
  for (const AddedToken& token : definition.added) {
    if (token.id < 0 || token.id >= most) {
      return absl::InvalidArgumentError(absl::StrCat(definition.path, ": added token \"",
                                                     token.text, "\" has the id ", token.id,
                                                     "; ids are 0 to ", most - 1));
    }
    const auto place = static_cast<size_t>(token.id);
    if (place >= texts.size()) texts.resize(place + 1);
    if (!texts[place].empty() && texts[place] != token.text) {
      return absl::InvalidArgumentError(
          absl::StrCat(definition.path, ": added token ", token.id, " is \"", token.text,
                       "\" but the model's piece is \"", texts[place], "\""));
    }
    texts[place] = token.text;
  }
  return texts;
}

// What is cut out of a text before the library sees it: control pieces and added tokens. Other
// user-defined pieces are the library's business.
std::vector<AddedToken> CutOut(const SentencePieceDefinition& definition,
                               const SentencePieceLibrary& library) {
  std::vector<AddedToken> out;
  absl::flat_hash_set<TokenId> known;
  for (const AddedToken& token : definition.added) {
    if (!token.special && token.id < library.size()) continue;
    known.insert(token.id);
    out.push_back(token);
  }
  for (int id = 0; id < library.size(); ++id) {
    if (library.TypeOf(id) != SentencePieceLibrary::Type::kControl || known.contains(id)) continue;
    AddedToken token;
    token.id = id;
    token.text = library.Piece(id);
    token.special = true;
    out.push_back(std::move(token));
  }
  return out;
}

// "<0x0A>" → the byte.
std::string ByteOfPiece(absl::string_view piece) {
  int value = 0;
  if (piece.size() != 6 || !absl::SimpleHexAtoi(piece.substr(1, 4), &value)) {
    return std::string(piece);
  }
  return std::string(1, static_cast<char>(value));
}

}  // namespace

absl::StatusOr<std::shared_ptr<const SentencePieceTokenizer>> SentencePieceTokenizer::Create(
    const SentencePieceDefinition& definition) {
  absl::flat_hash_set<int> control;
  for (const AddedToken& token : definition.added) {
    if (token.special) control.insert(token.id);
  }
  ASSIGN_OR_RETURN(const std::string proto,
                   WithControlPieces(definition.path, definition.proto, control));
  ASSIGN_OR_RETURN(Library library, Load(definition.path, proto));
  ASSIGN_OR_RETURN(std::vector<std::string> texts, Texts(definition, *library));
  ASSIGN_OR_RETURN(Vocabulary vocabulary,
                   Vocabulary::Create(absl::StrCat(definition.path, ": pieces"), std::move(texts)));
  std::vector<AddedToken> cut_out = CutOut(definition, *library);
  std::shared_ptr<SentencePieceTokenizer> made(
      new SentencePieceTokenizer(std::move(vocabulary), cut_out));
  made->FillKinds(*library, cut_out);
  RETURN_IF_ERROR(made->FillRoles(definition, *library, cut_out));
  made->first_ = std::move(library);
  if (definition.prefix_once) {
    ASSIGN_OR_RETURN(made->later_, Load(definition.path, WithoutDummyPrefix(proto)));
  }
  return std::shared_ptr<const SentencePieceTokenizer>(std::move(made));
}

void SentencePieceTokenizer::FillKinds(const SentencePieceLibrary& library,
                                       absl::Span<const AddedToken> cut_out) {
  kinds_.assign(static_cast<size_t>(vocab_size()), Kind::kNormal);
  for (const AddedToken& token : cut_out) {
    kinds_[static_cast<size_t>(token.id)] = token.special ? Kind::kControl : Kind::kAdded;
  }
  for (int id = 0; id < library.size(); ++id) {
    const SentencePieceLibrary::Type type = library.TypeOf(id);
    Kind& kind = kinds_[static_cast<size_t>(id)];
    if (type == SentencePieceLibrary::Type::kByte) kind = Kind::kByte;
    if (type == SentencePieceLibrary::Type::kUnknown) kind = Kind::kUnknown;
  }
}

absl::Status SentencePieceTokenizer::FillRoles(const SentencePieceDefinition& definition,
                                               const SentencePieceLibrary& library,
                                               absl::Span<const AddedToken> cut_out) {
  const auto find = [&](const std::optional<std::string>& text, int own, absl::string_view role,
                        std::optional<TokenId>& id) {
    if (own >= 0) id = own;
    if (!text.has_value()) return absl::OkStatus();
    id = vocabulary_.Find(*text);
    if (id.has_value()) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(definition.path, ": the ", role, " is \"", *text,
                                                   "\", which is no token of the model"));
  };
  std::optional<TokenId> eos;
  RETURN_IF_ERROR(find(definition.bos_text, library.bos(), "bos token", bos_));
  RETURN_IF_ERROR(find(definition.eos_text, library.eos(), "eos token", eos));
  add_bos_ = definition.add_bos && bos_.has_value();
  eos_ = definition.eos;
  if (eos.has_value()) eos_.push_back(*eos);
  AddKnownEndTokens(cut_out, eos_);
  for (const TokenId id : eos_) {
    if (vocabulary_.Has(id)) continue;
    return absl::InvalidArgumentError(absl::StrCat(definition.path, ": an end-of-text token is ",
                                                   id, ", but the tokenizer has only ",
                                                   vocab_size(), " tokens"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<TokenId>> SentencePieceTokenizer::Encode(
    absl::string_view text, const EncodeOptions& options) const {
  if (text.size() > kMaxTextBytes) {
    return absl::InvalidArgumentError(absl::StrCat("the text has ", text.size(), " bytes; at most ",
                                                   kMaxTextBytes, " can be tokenised"));
  }
  const std::string valid = ReplaceInvalidUtf8(text);
  std::vector<TokenId> ids;
  if (options.add_bos && add_bos_) ids.push_back(*bos_);
  std::vector<SpecialTokens::Part> parts;
  special_.Split(valid, options.parse_special, parts);
  bool is_first = true;
  for (const SpecialTokens::Part& part : parts) {
    if (part.id.has_value()) {
      ids.push_back(*part.id);
    } else {
      const SentencePieceLibrary& library = is_first || later_ == nullptr ? *first_ : *later_;
      const std::string wrong =
          library.Encode(std::string_view(part.text.data(), part.text.size()), ids);
      if (!wrong.empty()) {
        return absl::InvalidArgumentError(absl::StrCat("the text cannot be tokenised: ", wrong));
      }
    }
    is_first = false;
  }
  return ids;
}

std::string SentencePieceTokenizer::TokenBytes(TokenId id) const {
  if (!vocabulary_.Has(id)) return "";
  const absl::string_view text = vocabulary_.Text(id);
  switch (kinds_[static_cast<size_t>(id)]) {
    case Kind::kNormal:
      return absl::StrReplaceAll(text, {{kSpacePiece, " "}});
    case Kind::kAdded:
      return std::string(text);
    case Kind::kByte:
      return ByteOfPiece(text);
    case Kind::kUnknown:
      return std::string(kUnknownSurface);
    case Kind::kControl:
      break;
  }
  return "";
}

bool SentencePieceTokenizer::IsControl(TokenId id) const {
  return vocabulary_.Has(id) && kinds_[static_cast<size_t>(id)] == Kind::kControl;
}

std::string SentencePieceTokenizer::TokenText(TokenId id) const {
  return std::string(vocabulary_.Text(id));
}

std::optional<TokenId> SentencePieceTokenizer::Find(absl::string_view token_text) const {
  return vocabulary_.Find(token_text);
}

}  // namespace transmla
