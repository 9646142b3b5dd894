#include "engine/tokenizer/vocabulary.h"

#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

#include "engine/format/limits.h"
#include "engine/tokenizer/limits.h"

namespace transmla {

absl::StatusOr<Vocabulary> Vocabulary::Create(const std::string& where,
                                              std::vector<std::string> tokens) {
  if (tokens.empty() || tokens.size() > static_cast<size_t>(kMaxVocabSize)) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, " has ", tokens.size(), " tokens; it must have 1 to ", kMaxVocabSize));
  }
  Vocabulary made;
  made.tokens_ = std::move(tokens);
  made.ids_.reserve(made.tokens_.size());
  for (size_t i = 0; i < made.tokens_.size(); ++i) {
    const std::string& text = made.tokens_[i];
    if (text.empty()) continue;
    if (text.size() > static_cast<size_t>(kMaxTokenTextBytes)) {
      return absl::InvalidArgumentError(absl::StrCat(where, "[", i, "] has ", text.size(),
                                                     " bytes; a token has at most ",
                                                     kMaxTokenTextBytes));
    }
    const auto [first, is_new] = made.ids_.try_emplace(text, static_cast<TokenId>(i));
    if (!is_new) {
      return absl::InvalidArgumentError(absl::StrCat(
          where, "[", i, "] is \"", absl::Utf8SafeCHexEscape(text.substr(0, 64)),
          "\", which is token ", first->second, " already; a token's text occurs once"));
    }
  }
  return made;
}

std::optional<TokenId> Vocabulary::Find(absl::string_view text) const {
  const auto found = ids_.find(text);
  return found == ids_.end() ? std::nullopt : std::optional<TokenId>(found->second);
}

}  // namespace transmla
