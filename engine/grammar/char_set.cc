#include "engine/grammar/char_set.h"

#include <algorithm>
#include <string>

#include "engine/base/check.h"
#include "engine/base/utf8.h"

namespace transmla::grammar {
namespace {

constexpr uint32_t kLastCharacter = 0x10FFFF;
constexpr uint32_t kFirstSurrogate = 0xD800;
constexpr uint32_t kLastSurrogate = 0xDFFF;
// The last character of each length of encoding.
constexpr uint32_t kLastOfLength[] = {0x7F, 0x7FF, 0xFFFF, kLastCharacter};

// Cuts [first, last], all of one length of encoding, where the encodings of a part differ from
// those of the next in more than a run of their last bytes.
void Split(uint32_t first, uint32_t last, std::vector<CharSet::Utf8Range>& out) {
  for (int tail = 1; tail < 4; ++tail) {
    const uint32_t mask = (1u << (6 * tail)) - 1;
    if ((first & ~mask) == (last & ~mask)) break;
    if ((first & mask) != 0) {
      Split(first, first | mask, out);
      return Split((first | mask) + 1, last, out);
    }
    if ((last & mask) != mask) {
      Split(first, (last & ~mask) - 1, out);
      return Split(last & ~mask, last, out);
    }
  }
  std::string low, high;
  AppendUtf8(first, low);
  AppendUtf8(last, high);
  CharSet::Utf8Range range{.bytes = static_cast<int>(low.size()), .first = {}, .last = {}};
  for (size_t i = 0; i < 4 && i < low.size(); ++i) {
    range.first[i] = static_cast<uint8_t>(low[i]);
    range.last[i] = static_cast<uint8_t>(high[i]);
  }
  out.push_back(range);
}

}  // namespace

CharSet CharSet::All() { return CharSet{{0, kLastCharacter}}; }

void CharSet::Add(uint32_t first, uint32_t last) {
  CHECK_LE(first, last);
  CHECK_LE(last, kLastCharacter);
  if (first < kFirstSurrogate) AddScalars(first, std::min(last, kFirstSurrogate - 1));
  if (last > kLastSurrogate) AddScalars(std::max(first, kLastSurrogate + 1), last);
}

void CharSet::AddScalars(uint32_t first, uint32_t last) {
  // All that the new range overlaps or touches becomes one with it.
  const auto begin = std::find_if(ranges_.begin(), ranges_.end(),
                                  [&](const Range& r) { return r.second + 1 >= first; });
  auto end = begin;
  for (; end != ranges_.end() && end->first <= last + 1; ++end) {
    first = std::min(first, end->first);
    last = std::max(last, end->second);
  }
  ranges_.insert(ranges_.erase(begin, end), {first, last});
}

void CharSet::Add(const CharSet& other) {
  for (const auto& [first, last] : other.ranges_) Add(first, last);
}

void CharSet::Remove(const CharSet& other) {
  // What is left is what the complement lacks.
  CharSet without = Complement();
  without.Add(other);
  *this = without.Complement();
}

CharSet CharSet::Complement() const {
  CharSet result;
  uint32_t next = 0;
  for (const auto& [first, last] : ranges_) {
    if (first > next) result.Add(next, first - 1);
    next = last + 1;
  }
  if (next <= kLastCharacter) result.Add(next, kLastCharacter);
  return result;
}

bool CharSet::Has(uint32_t c) const {
  return std::any_of(ranges_.begin(), ranges_.end(),
                     [c](const Range& r) { return r.first <= c && c <= r.second; });
}

std::vector<CharSet::Utf8Range> CharSet::Utf8Ranges() const {
  std::vector<Utf8Range> result;
  for (const auto& [first, last] : ranges_) {
    uint32_t begin = first;
    for (const uint32_t limit : kLastOfLength) {
      if (begin > limit || begin > last) continue;
      Split(begin, std::min(last, limit), result);
      begin = limit + 1;
    }
  }
  return result;
}

}  // namespace transmla::grammar
