#include "engine/tokenizer/byte_alphabet.h"

#include <cstdint>
#include <set>
#include <string>

#include "gtest/gtest.h"

namespace transmla {
namespace {

TEST(ByteAlphabetTest, KnownCharacters) {
  EXPECT_EQ(AlphabetCharacter('a'), "a");
  EXPECT_EQ(AlphabetCharacter(' '), "Ġ");
  EXPECT_EQ(AlphabetCharacter('\n'), "Ċ");
  EXPECT_EQ(AlphabetCharacter(0), "Ā");
  EXPECT_EQ(AlphabetCharacter(0xAD), "Ń");  // the last of the 68: U+0143
  EXPECT_EQ(AlphabetCharacter(0xFF), "ÿ");
}

TEST(ByteAlphabetTest, EveryByteComesBack) {
  std::set<std::string> seen;
  for (int byte = 0; byte < 256; ++byte) {
    const std::string text = AlphabetCharacter(static_cast<uint8_t>(byte));
    EXPECT_TRUE(seen.insert(text).second) << byte;
    EXPECT_EQ(BytesFromAlphabet(text), std::string(1, static_cast<char>(byte)));
  }
}

TEST(ByteAlphabetTest, OtherCharactersHaveNoBytes) {
  for (const char* text : {" ", "\n", "a b", "漢", "ń", "\xFF", "Ġ\xC4"}) {
    EXPECT_FALSE(BytesFromAlphabet(text).has_value()) << text;
  }
  EXPECT_EQ(BytesFromAlphabet(""), "");
}

}  // namespace
}  // namespace transmla
