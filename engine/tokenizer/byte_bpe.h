// ByteBpe: byte-pair encoding of one word (Sennrich et al. 2016) over bytes.
//
// A word starts as the tokens of its bytes; of all neighbours that a merge names, the pair with the
// lowest rank, and of equal ones the leftmost, becomes one token, until no merge applies.
#ifndef TRANSMLA_ENGINE_TOKENIZER_BYTE_BPE_H_
#define TRANSMLA_ENGINE_TOKENIZER_BYTE_BPE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "engine/tokenizer/bpe_definition.h"
#include "engine/tokenizer/vocabulary.h"

namespace transmla {

// Immutable; thread-safe.
class ByteBpe {
 public:
  // Memory that words of one text share.
  class Scratch {
    friend class ByteBpe;
    struct Symbol {
      TokenId id;  // -1: joined to the one before
      int32_t previous;
      int32_t next;  // -1: none
    };
    struct Candidate {
      int32_t rank;
      int32_t place;  // of the left symbol
      TokenId left;
      TokenId right;
      TokenId merged;
    };
    std::vector<Symbol> symbols;
    std::vector<Candidate> heap;
  };

  // Merges that would make a special token are left out, so that no text becomes one.
  // InvalidArgument names the merge whose parts or result are no tokens of `vocabulary`.
  static absl::StatusOr<ByteBpe> Create(const BpeDefinition& definition,
                                        const Vocabulary& vocabulary);

  // Appends the ids of `word`: any bytes. O(n log n).
  void Encode(absl::string_view word, Scratch& scratch, std::vector<TokenId>& ids) const;

 private:
  struct Merge {
    int32_t rank;
    TokenId merged;
  };

  ByteBpe() = default;

  static uint64_t PairOf(TokenId left, TokenId right) {
    return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
  }
  absl::Status AddMerges(const BpeDefinition& definition, const Vocabulary& vocabulary,
                         const std::vector<bool>& special);
  void FillSymbols(absl::string_view word, Scratch& scratch) const;
  void Propose(int32_t left, Scratch& scratch) const;

  TokenId byte_id_[256];  // -1: no token
  TokenId unk_ = -1;
  bool fuse_unk_ = false;
  absl::flat_hash_map<uint64_t, Merge> merges_;
  absl::flat_hash_map<std::string, TokenId> whole_words_;  // with ignore_merges; by bytes
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_TOKENIZER_BYTE_BPE_H_
