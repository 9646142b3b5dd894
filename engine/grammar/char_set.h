// CharSet: a set of Unicode scalar values.
#ifndef TRANSMLA_ENGINE_GRAMMAR_CHAR_SET_H_
#define TRANSMLA_ENGINE_GRAMMAR_CHAR_SET_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/types/span.h"

namespace transmla::grammar {

class CharSet {
 public:
  using Range = std::pair<uint32_t, uint32_t>;  // first and last

  CharSet() = default;
  CharSet(std::initializer_list<Range> ranges) {
    for (const auto& [first, last] : ranges) Add(first, last);
  }
  static CharSet All();

  // Surrogates (U+D800 to U+DFFF), which are not characters, are left out. REQUIRES: first <= last,
  // last at most U+10FFFF.
  void Add(uint32_t first, uint32_t last);
  void Add(const CharSet& other);
  void Remove(const CharSet& other);
  CharSet Complement() const;

  bool Has(uint32_t c) const;
  bool empty() const { return ranges_.empty(); }
  // Sorted; no two touch.
  absl::Span<const Range> ranges() const { return ranges_; }

  // One to four ranges of bytes: the encodings of a range of characters whose bytes vary
  // independently of each other.
  struct Utf8Range {
    int bytes = 0;
    uint8_t first[4];
    uint8_t last[4];
  };
  // The encodings of all characters of the set, each in exactly one of the results.
  std::vector<Utf8Range> Utf8Ranges() const;

  friend bool operator==(const CharSet&, const CharSet&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const CharSet& set) {
    return H::combine(std::move(h), set.ranges_);
  }

 private:
  void AddScalars(uint32_t first, uint32_t last);

  std::vector<Range> ranges_;
};

}  // namespace transmla::grammar

#endif  // TRANSMLA_ENGINE_GRAMMAR_CHAR_SET_H_
