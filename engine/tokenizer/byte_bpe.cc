#include "engine/tokenizer/byte_bpe.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

#include "engine/base/status.h"
#include "engine/tokenizer/byte_alphabet.h"
#include "engine/tokenizer/limits.h"

namespace transmla {

absl::StatusOr<ByteBpe> ByteBpe::Create(const BpeDefinition& definition,
                                        const Vocabulary& vocabulary) {
  std::vector<bool> special(static_cast<size_t>(vocabulary.size()));
  for (const AddedToken& token : definition.added) {
    if (vocabulary.Has(token.id)) special[static_cast<size_t>(token.id)] = token.special;
  }
  ByteBpe made;
  made.unk_ = definition.unk.value_or(-1);
  made.fuse_unk_ = definition.fuse_unk;
  for (int byte = 0; byte < 256; ++byte) {
    const std::optional<TokenId> id =
        vocabulary.Find(AlphabetCharacter(static_cast<uint8_t>(byte)));
    made.byte_id_[byte] = id.has_value() && !special[static_cast<size_t>(*id)] ? *id : -1;
  }
  RETURN_IF_ERROR(made.AddMerges(definition, vocabulary, special));
  if (definition.ignore_merges) {
    made.whole_words_.reserve(static_cast<size_t>(vocabulary.size()));
    for (TokenId id = 0; id < vocabulary.size(); ++id) {
      if (special[static_cast<size_t>(id)] || vocabulary.Text(id).empty()) continue;
      std::optional<std::string> bytes = BytesFromAlphabet(vocabulary.Text(id));
      if (bytes.has_value()) made.whole_words_.emplace(*std::move(bytes), id);
    }
  }
  return made;
}

absl::Status ByteBpe::AddMerges(const BpeDefinition& definition, const Vocabulary& vocabulary,
                                const std::vector<bool>& special) {
  merges_.reserve(definition.merges.size());
  for (size_t rank = 0; rank < definition.merges.size(); ++rank) {
    const auto& [left_text, right_text] = definition.merges[rank];
    const auto find = [&](const std::string& text) -> absl::StatusOr<TokenId> {
      if (const std::optional<TokenId> id = vocabulary.Find(text)) return *id;
      return absl::InvalidArgumentError(
          absl::StrCat(definition.path, ": ", definition.merges_field, "[", rank,
                       "] needs the token \"", absl::Utf8SafeCHexEscape(text.substr(0, 64)),
                       "\", which ", definition.tokens_field, " does not have"));
    };
    ASSIGN_OR_RETURN(const TokenId left, find(left_text));
    ASSIGN_OR_RETURN(const TokenId right, find(right_text));
    ASSIGN_OR_RETURN(const TokenId merged, find(left_text + right_text));
    if (special[static_cast<size_t>(merged)]) continue;
    // Of equal pairs the last counts, as in Hugging Face's tokenizers.
    merges_[PairOf(left, right)] = {static_cast<int32_t>(rank), merged};
  }
  return absl::OkStatus();
}

void ByteBpe::FillSymbols(absl::string_view word, Scratch& scratch) const {
  scratch.symbols.clear();
  scratch.heap.clear();
  bool after_unknown = false;
  for (const char c : word) {
    TokenId id = byte_id_[static_cast<uint8_t>(c)];
    const bool unknown = id < 0;
    if (unknown) id = unk_;
    if (id >= 0 && !(unknown && after_unknown && fuse_unk_)) {
      const auto place = static_cast<int32_t>(scratch.symbols.size());
      scratch.symbols.push_back({id, place - 1, place + 1});
    }
    after_unknown = unknown;
  }
  if (!scratch.symbols.empty()) scratch.symbols.back().next = -1;
}

void ByteBpe::Propose(int32_t left, Scratch& scratch) const {
  const Scratch::Symbol& symbol = scratch.symbols[static_cast<size_t>(left)];
  if (symbol.next < 0) return;
  const TokenId right_id = scratch.symbols[static_cast<size_t>(symbol.next)].id;
  const auto merge = merges_.find(PairOf(symbol.id, right_id));
  if (merge == merges_.end()) return;
  scratch.heap.push_back({merge->second.rank, left, symbol.id, right_id, merge->second.merged});
}

void ByteBpe::Encode(absl::string_view word, Scratch& scratch, std::vector<TokenId>& ids) const {
  if (!whole_words_.empty()) {
    const auto whole = whole_words_.find(word);
    if (whole != whole_words_.end()) return ids.push_back(whole->second);
  }
  FillSymbols(word, scratch);
  auto& symbols = scratch.symbols;
  auto& heap = scratch.heap;
  const auto later = [](const Scratch::Candidate& a, const Scratch::Candidate& b) {
    return std::pair(a.rank, a.place) > std::pair(b.rank, b.place);
  };
  for (size_t i = 0; i < symbols.size(); ++i) Propose(static_cast<int32_t>(i), scratch);
  std::make_heap(heap.begin(), heap.end(), later);
  const auto propose = [&](int32_t left) {
    const size_t before = heap.size();
    Propose(left, scratch);
    if (heap.size() > before) std::push_heap(heap.begin(), heap.end(), later);
  };
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), later);
    const Scratch::Candidate best = heap.back();
    heap.pop_back();
    Scratch::Symbol& left = symbols[static_cast<size_t>(best.place)];
    if (left.id != best.left || left.next < 0) continue;  // merged in the meantime
    Scratch::Symbol& right = symbols[static_cast<size_t>(left.next)];
    if (right.id != best.right) continue;
    left.id = best.merged;
    left.next = right.next;
    right.id = -1;
    if (left.next >= 0) symbols[static_cast<size_t>(left.next)].previous = best.place;
    propose(best.place);
    if (left.previous >= 0) propose(left.previous);
  }
  for (const Scratch::Symbol& symbol : symbols) {
    if (symbol.id >= 0) ids.push_back(symbol.id);
  }
}

}  // namespace transmla
