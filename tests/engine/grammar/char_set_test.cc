#include "engine/grammar/char_set.h"

#include <set>
#include <string>

#include <gtest/gtest.h>

#include "engine/base/random.h"
#include "engine/base/utf8.h"

namespace transmla::grammar {
namespace {

TEST(CharSetTest, RangesThatTouchBecomeOne) {
  CharSet set;
  set.Add('m', 'p');
  set.Add('a', 'c');
  set.Add('d', 'f');
  set.Add('e', 'n');
  EXPECT_EQ(set, (CharSet{{'a', 'p'}}));
  set.Remove(CharSet{{'c', 'd'}, {'z', 'z'}});
  EXPECT_EQ(set, (CharSet{{'a', 'b'}, {'e', 'p'}}));
  EXPECT_TRUE(set.Has('b'));
  EXPECT_FALSE(set.Has('c'));
}

TEST(CharSetTest, SurrogatesAreInNoSet) {
  EXPECT_FALSE(CharSet::All().Has(0xD800));
  EXPECT_FALSE(CharSet{}.Complement().Has(0xDFFF));
  EXPECT_TRUE((CharSet{{0xD800, 0xDFFF}}).empty());
  EXPECT_TRUE(CharSet::All().Complement().empty());
}

bool InRanges(const std::vector<CharSet::Utf8Range>& ranges, const std::string& bytes) {
  int matching = 0;
  for (const CharSet::Utf8Range& range : ranges) {
    bool good = range.bytes == static_cast<int>(bytes.size());
    for (int i = 0; good && i < range.bytes; ++i) {
      const auto byte = static_cast<uint8_t>(bytes[i]);
      good = range.first[i] <= byte && byte <= range.last[i];
    }
    matching += good;
  }
  EXPECT_LE(matching, 1);
  return matching == 1;
}

TEST(CharSetTest, Utf8RangesAreTheEncodingsOfTheSetAndNoOthers) {
  Random random(1);
  for (int round = 0; round < 200; ++round) {
    CharSet set;
    std::vector<uint32_t> probes = {0, 0x7F, 0x80, 0x7FF, 0x800, 0xFFFF, 0x10000, 0x10FFFF};
    for (int i = 0; i < 3; ++i) {
      const auto first = static_cast<uint32_t>(random.Below(round % 2 ? 0x110000 : 0x1000));
      const uint32_t last =
          std::min<uint32_t>(0x10FFFF, first + static_cast<uint32_t>(random.Below(0x3000)));
      set.Add(first, last);
      for (const uint32_t edge : {first, last}) {
        if (edge > 0) probes.push_back(edge - 1);
        probes.push_back(edge);
        if (edge < 0x10FFFF) probes.push_back(edge + 1);
        probes.push_back((first + last) / 2);
      }
    }
    const auto ranges = set.Utf8Ranges();
    for (const uint32_t probe : probes) {
      if (probe >= 0xD800 && probe <= 0xDFFF) continue;
      std::string bytes;
      AppendUtf8(probe, bytes);
      EXPECT_EQ(InRanges(ranges, bytes), set.Has(probe)) << probe;
    }
  }
}

TEST(CharSetTest, AllOfUnicodeTakesNineRangesOfBytes) {
  // Unicode 15, table 3-7.
  EXPECT_EQ(CharSet::All().Utf8Ranges().size(), 9u);
}

}  // namespace
}  // namespace transmla::grammar
