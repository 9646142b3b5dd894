// Vocabulary: the tokens' texts by id, and ids by text.
#ifndef TRANSMLA_ENGINE_TOKENIZER_VOCABULARY_H_
#define TRANSMLA_ENGINE_TOKENIZER_VOCABULARY_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "engine/tokenizer/tokenizer.h"

namespace transmla {

// Immutable; thread-safe. May be moved.
class Vocabulary {
 public:
  // `where` names file and field. Empty texts are ids without a token. InvalidArgument for a text
  // that occurs twice or is longer than kMaxTokenTextBytes, and for no or too many tokens.
  static absl::StatusOr<Vocabulary> Create(const std::string& where,
                                           std::vector<std::string> tokens);
  Vocabulary(Vocabulary&&) = default;
  Vocabulary& operator=(Vocabulary&&) = default;

  int size() const { return static_cast<int>(tokens_.size()); }
  bool Has(TokenId id) const { return id >= 0 && id < size(); }
  // Empty out of range.
  absl::string_view Text(TokenId id) const {
    return Has(id) ? absl::string_view(tokens_[static_cast<size_t>(id)]) : absl::string_view();
  }
  std::optional<TokenId> Find(absl::string_view text) const;

 private:
  Vocabulary() = default;

  std::vector<std::string> tokens_;  // its buffer, and so the views, survive a move
  absl::flat_hash_map<absl::string_view, TokenId> ids_;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_TOKENIZER_VOCABULARY_H_
