// TokenizerJsonFromBpe (tokenizer_json.h).
#include "absl/strings/str_cat.h"

#include "engine/base/check.h"
#include "engine/tokenizer/tokenizer_json.h"

namespace transmla {
namespace {

using nlohmann::json;

json AddedTokens(const BpeDefinition& definition) {
  json added = json::array();
  for (const AddedToken& token : definition.added) {
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

json ByteLevel() {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", true},
          {"trim_offsets", true},
          {"use_regex", true}};
}

// Puts bos before one text, and before each of two.
json LeadingBos(const BpeDefinition& definition) {
  CHECK(definition.bos.has_value());
  const std::string& text = definition.tokens[static_cast<size_t>(*definition.bos)];
  const json bos = {{"SpecialToken", {{"id", text}, {"type_id", 0}}}};
  const json second_bos = {{"SpecialToken", {{"id", text}, {"type_id", 1}}}};
  const json a = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  const json b = {{"Sequence", {{"id", "B"}, {"type_id", 1}}}};
  json processor = {{"type", "TemplateProcessing"},
                    {"single", json::array({bos, a})},
                    {"pair", json::array({bos, a, second_bos, b})},
                    {"special_tokens", json::object()}};
  processor["special_tokens"][text] = {
      {"id", text}, {"ids", json::array({*definition.bos})}, {"tokens", json::array({text})}};
  return processor;
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

json TokenizerJsonFromBpe(const BpeDefinition& definition) {
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", AddedTokens(definition)},
          {"normalizer", definition.normalizer},
          {"pre_tokenizer", definition.pre_tokenizer},
          {"post_processor", definition.add_bos ? LeadingBos(definition) : json()},
          {"decoder", ByteLevel()},
          {"model", Model(definition)}};
}

}  // namespace transmla
