#include "engine/tokenizer/special_tokens.h"

#include <algorithm>
#include <utility>

#include <utf8proc.h>

#include "engine/base/utf8.h"

namespace transmla {
namespace {

bool IsSpace(uint32_t c) {
  return (c >= '\t' && c <= '\r') || c == 0x85 ||
         (c >= 0x20 &&
          utf8proc_category(static_cast<utf8proc_int32_t>(c)) >= UTF8PROC_CATEGORY_ZS &&
          utf8proc_category(static_cast<utf8proc_int32_t>(c)) <= UTF8PROC_CATEGORY_ZP);
}

// \w of Unicode (UTS 18): letters, marks, decimal digits and connecting punctuation.
bool IsWord(uint32_t c) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:
      return false;
  }
}

// The character before byte `end`, whose bytes are text[begin, end). REQUIRES: end > 0.
uint32_t CharacterBefore(absl::string_view text, size_t end, size_t& begin) {
  begin = end - 1;
  while (begin > 0 && (static_cast<uint8_t>(text[begin]) & 0xC0) == 0x80) --begin;
  return NextUtf8(text.substr(begin, end - begin)).code_point;
}

bool TouchesWord(absl::string_view text, size_t begin, size_t end) {
  size_t ignored;
  return (begin > 0 && IsWord(CharacterBefore(text, begin, ignored))) ||
         (end < text.size() && IsWord(NextUtf8(text.substr(end)).code_point));
}

// Not before `limit`.
size_t SkipSpacesBefore(absl::string_view text, size_t at, size_t limit) {
  size_t begin = at;
  while (at > limit && IsSpace(CharacterBefore(text, at, begin))) at = begin;
  return at;
}

size_t SkipSpacesBehind(absl::string_view text, size_t at) {
  while (at < text.size()) {
    const Utf8Step step = NextUtf8(text.substr(at));
    if (!IsSpace(step.code_point)) break;
    at += static_cast<size_t>(step.bytes);
  }
  return at;
}

}  // namespace

SpecialTokens::SpecialTokens(std::vector<AddedToken> tokens)
    : tokens_(std::move(tokens)), token_of_node_{-1} {
  for (size_t t = 0; t < tokens_.size(); ++t) {
    const std::string& text = tokens_[t].text;
    if (text.empty()) continue;
    starts_[static_cast<uint8_t>(text[0])] = true;
    uint32_t node = 0;
    for (const char c : text) {
      const uint64_t edge = uint64_t{node} << 8 | static_cast<uint8_t>(c);
      const auto [child, is_new] =
          children_.try_emplace(edge, static_cast<uint32_t>(token_of_node_.size()));
      if (is_new) token_of_node_.push_back(-1);
      node = child->second;
    }
    token_of_node_[node] = static_cast<int32_t>(t);
  }
}

const AddedToken* SpecialTokens::Longest(absl::string_view text) const {
  int32_t longest = -1;
  uint32_t node = 0;
  for (const char c : text) {
    const auto child = children_.find(uint64_t{node} << 8 | static_cast<uint8_t>(c));
    if (child == children_.end()) break;
    node = child->second;
    if (token_of_node_[node] >= 0) longest = token_of_node_[node];
  }
  return longest < 0 ? nullptr : &tokens_[static_cast<size_t>(longest)];
}

void SpecialTokens::Split(absl::string_view text, bool parse_special,
                          std::vector<Part>& parts) const {
  size_t done = 0;  // everything before is in `parts`
  size_t at = 0;
  while (at < text.size()) {
    const AddedToken* token =
        starts_[static_cast<uint8_t>(text[at])] ? Longest(text.substr(at)) : nullptr;
    if (token == nullptr) {
      ++at;
      continue;
    }
    size_t begin = at;
    size_t end = at + token->text.size();
    at = end;
    // Also as text, a token's characters are not looked at again: "<|a|>" hides "|>".
    if (token->special && !parse_special) continue;
    if (token->single_word && TouchesWord(text, begin, end)) continue;
    // The token before may have taken spaces up to `done`, and this token with them. No space is
    // looked at twice: a text of spaces costs no more than another.
    begin = std::max(begin, done);
    end = std::max(end, begin);
    if (token->lstrip) begin = SkipSpacesBefore(text, begin, done);
    if (token->rstrip) end = SkipSpacesBehind(text, end);
    if (begin > done) parts.push_back({text.substr(done, begin - done), std::nullopt});
    parts.push_back({text.substr(begin, end - begin), token->id});
    done = end;
  }
  if (done < text.size()) parts.push_back({text.substr(done), std::nullopt});
}

}  // namespace transmla
