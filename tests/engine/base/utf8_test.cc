#include "engine/base/utf8.h"

#include <string>

#include "absl/strings/escaping.h"
#include "gtest/gtest.h"

#include "tests/engine/tokenizer/fixtures.h"

namespace transmla {
namespace {

// Python replaces as WHATWG does.
TEST(Utf8Test, InvalidPartsAreReplacedAsPythonDoes) {
  for (const auto& row : testing::FixtureRows("broken_utf8.jsonl")) {
    const std::string bytes = absl::HexStringToBytes(row[0].get<std::string>());
    EXPECT_EQ(ReplaceInvalidUtf8(bytes), row[1].get<std::string>()) << row[0];
  }
}

TEST(Utf8Test, EveryCodePointComesBack) {
  for (uint32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c >= 0xD800 && c <= 0xDFFF) continue;
    std::string text;
    AppendUtf8(c, text);
    const Utf8Step step = NextUtf8(text);
    ASSERT_TRUE(step.valid) << c;
    ASSERT_EQ(step.code_point, c);
    ASSERT_EQ(static_cast<size_t>(step.bytes), text.size());
    // Every shorter piece of it may still become a character.
    for (size_t cut = 1; cut < text.size(); ++cut) {
      ASSERT_TRUE(NextUtf8(text.substr(0, cut)).truncated) << c;
    }
  }
}

TEST(Utf8Test, SurrogatesAndOverlongFormsAreInvalid) {
  for (const char* text :
       {"\xED\xA0\x80", "\xC0\xAF", "\xE0\x80\xAF", "\xF4\x90\x80\x80", "\x80"}) {
    const Utf8Step step = NextUtf8(text);
    EXPECT_FALSE(step.valid);
    EXPECT_FALSE(step.truncated);
    EXPECT_EQ(step.bytes, 1);
  }
}

}  // namespace
}  // namespace transmla
