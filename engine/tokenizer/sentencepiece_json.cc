#include "engine/tokenizer/sentencepiece_json.h"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/string_view.h"

#include "engine/base/check.h"
#include "engine/base/utf8.h"
#include "engine/tokenizer/special_tokens.h"
#include "engine/tokenizer/tokenizer_json.h"

namespace transmla {
namespace {

using nlohmann::json;

constexpr char kSpacePiece[] = "\xE2\x96\x81";  // U+2581

json Replace(const char* from, const char* to) {
  return {{"type", "Replace"}, {"pattern", {{"String", from}}}, {"content", to}};
}

json Normalizer(const SentencePieceModel& model) {
  json steps = json::array();
  if (model.add_dummy_prefix) steps.push_back({{"type", "Prepend"}, {"prepend", kSpacePiece}});
  steps.push_back(Replace(" ", kSpacePiece));
  return {{"type", "Sequence"}, {"normalizers", std::move(steps)}};
}

json Decoder(const SentencePieceModel& model) {
  json steps =
      json::array({Replace(kSpacePiece, " "), {{"type", "ByteFallback"}}, {{"type", "Fuse"}}});
  if (model.add_dummy_prefix) {
    steps.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  }
  return {{"type", "Sequence"}, {"decoders", std::move(steps)}};
}

// SentencePiece merges whatever gives a piece, the piece of the highest score first; here every way
// to make each piece is a merge, in that order.
json Merges(const SentencePieceModel& model) {
  absl::flat_hash_set<absl::string_view> texts;
  for (const SentencePiece& piece : model.pieces) {
    if (piece.type == PieceType::kNormal) texts.insert(piece.text);
  }
  std::vector<size_t> order(model.pieces.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return model.pieces[a].score > model.pieces[b].score;
  });
  json merges = json::array();
  for (const size_t id : order) {
    const absl::string_view text = model.pieces[id].text;
    if (model.pieces[id].type != PieceType::kNormal) continue;
    for (size_t cut = 0; cut < text.size();) {
      cut += static_cast<size_t>(NextUtf8(text.substr(cut)).bytes);
      const absl::string_view left = text.substr(0, cut), right = text.substr(cut);
      if (!texts.contains(left) || !texts.contains(right)) continue;
      merges.push_back(json::array({std::string(left), std::string(right)}));
    }
  }
  return merges;
}

}  // namespace

json TokenizerJsonFromSentencePiece(const SentencePieceModel& model, bool add_bos) {
  CHECK(!model.is_unigram && !model.remove_extra_whitespaces);
  json vocabulary = json::object();
  std::vector<AddedToken> added;
  json unk = nullptr;
  std::optional<TokenId> bos;
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    const SentencePiece& piece = model.pieces[id];
    vocabulary[piece.text] = id;
    const bool special = piece.type == PieceType::kControl || piece.type == PieceType::kUnknown;
    if (piece.type == PieceType::kUnknown) unk = piece.text;
    if (piece.text == model.bos) bos = static_cast<TokenId>(id);
    if (!special && piece.type != PieceType::kUserDefined) continue;
    AddedToken token;
    token.id = static_cast<TokenId>(id);
    token.text = piece.text;
    token.special = special;
    added.push_back(std::move(token));
  }
  return {
      {"version", "1.0"},
      {"truncation", nullptr},
      {"padding", nullptr},
      {"added_tokens", AddedTokensToJson(added)},
      {"normalizer", Normalizer(model)},
      {"pre_tokenizer", nullptr},
      {"post_processor", add_bos && bos.has_value() ? LeadingTokenToJson(*bos, model.bos) : json()},
      {"decoder", Decoder(model)},
      {"model",
       {{"type", "BPE"},
        {"dropout", nullptr},
        {"unk_token", std::move(unk)},
        {"continuing_subword_prefix", nullptr},
        {"end_of_word_suffix", nullptr},
        {"fuse_unk", true},
        {"byte_fallback", model.byte_fallback},
        {"ignore_merges", false},
        {"vocab", std::move(vocabulary)},
        {"merges", Merges(model)}}}};
}

}  // namespace transmla
