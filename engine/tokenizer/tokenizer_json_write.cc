// The writing half of tokenizer_json.h.
#include <utility>

#include "absl/strings/str_cat.h"

#include "engine/base/check.h"
#include "engine/tokenizer/tokenizer_json.h"

namespace transmla {
namespace {

using nlohmann::json;

json ByteLevel() {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", true},
          {"trim_offsets", true},
          {"use_regex", true}};
}

json Model(const BpeDefinition& definition) {
  json vocabulary = json::object();
  for (size_t id = 0; id < definition.tokens.size(); ++id) {
    if (!definition.tokens[id].empty()) vocabulary[definition.tokens[id]] = id;
  }
  json merges = json::array();
  // Tokens of the byte alphabet have no spaces, so the form that all versions read is safe.
  for (const auto& [left, right] : definition.merges) {
    merges.push_back(absl::StrCat(left, " ", right));
  }
  json unk = nullptr;
  if (definition.unk.has_value()) unk = definition.tokens[static_cast<size_t>(*definition.unk)];
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", std::move(unk)},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", definition.fuse_unk},
          {"byte_fallback", false},
          {"ignore_merges", definition.ignore_merges},
          {"vocab", std::move(vocabulary)},
          {"merges", std::move(merges)}};
}

}  // namespace

json AddedTokensToJson(absl::Span<const AddedToken> tokens) {
  json added = json::array();
  for (const AddedToken& token : tokens) {
    added.push_back({{"id", token.id},
                     {"content", token.text},
                     {"single_word", token.single_word},
                     {"lstrip", token.lstrip},
                     {"rstrip", token.rstrip},
                     {"normalized", token.normalized},
                     {"special", token.special}});
  }
  return added;
}

json LeadingTokenToJson(TokenId id, const std::string& text) {
  const auto special = [&](int type) -> json {
    return {{"SpecialToken", {{"id", text}, {"type_id", type}}}};
  };
  const json a = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  const json b = {{"Sequence", {{"id", "B"}, {"type_id", 1}}}};
  json processor = {{"type", "TemplateProcessing"},
                    {"single", json::array({special(0), a})},
                    {"pair", json::array({special(0), a, special(1), b})},
                    {"special_tokens", json::object()}};
  processor["special_tokens"][text] = {
      {"id", text}, {"ids", json::array({id})}, {"tokens", json::array({text})}};
  return processor;
}

json TokenizerJsonFromBpe(const BpeDefinition& definition) {
  json leading = nullptr;
  if (definition.add_bos) {
    CHECK(definition.bos.has_value());
    leading = LeadingTokenToJson(*definition.bos,
                                 definition.tokens[static_cast<size_t>(*definition.bos)]);
  }
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", AddedTokensToJson(definition.added)},
          {"normalizer", definition.normalizer},
          {"pre_tokenizer", definition.pre_tokenizer},
          {"post_processor", std::move(leading)},
          {"decoder", ByteLevel()},
          {"model", Model(definition)}};
}

}  // namespace transmla
