#include "engine/tokenizer/normalizer.h"

#include <string>

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include <nlohmann/json.hpp>

namespace transmla {
namespace {

using nlohmann::json;

// Expected values: Python's unicodedata.normalize("NFC", …).
TEST(NormalizerTest, Nfc) {
  EXPECT_EQ(ToNfc("plain"), "plain");
  EXPECT_EQ(ToNfc(""), "");
  EXPECT_EQ(ToNfc("e\u0301"), "\u00e9");
  EXPECT_EQ(ToNfc("q\u0307\u0323"), "q\u0323\u0307");  // ordered, not composed
  EXPECT_EQ(ToNfc("\u1100\u1161\u11a8"), "\uac01");    // Hangul
  EXPECT_EQ(ToNfc("\u0958"), "\u0915\u093c");          // excluded from composition
  EXPECT_EQ(ToNfc("\u2126\u212b"), "\u03a9\u00c5");    // singletons
  EXPECT_EQ(ToNfc("\u0344"), "\u0308\u0301");
  EXPECT_EQ(ToNfc("\uFB01"), "\uFB01");  // compatibility forms stay
  EXPECT_EQ(ToNfc(std::string("a\0e\u0301", 5)), std::string("a\0\u00e9", 4));
}

TEST(NormalizerTest, LongRunsOfMarksTakeNoQuadraticTime) {
  std::string text = "a";
  for (int i = 0; i < 200000; ++i) text += "\u0301\u0323";  // classes 230 and 220
  const std::string out = ToNfc(text);
  EXPECT_EQ(out.substr(0, 3), "\u1ea1");  // a with dot below
  EXPECT_EQ(out.substr(3, 2), "\u0323");
  EXPECT_EQ(out.size(), 3u + 2 * (2 * 200000 - 1));
}

TEST(NormalizerTest, Sections) {
  EXPECT_FALSE(Normalizer::FromJson("test", nullptr)->changes_text());
  EXPECT_EQ(Normalizer::FromJson("test", json::parse(R"({"type":"NFC"})"))->Normalize("e\u0301"),
            "\u00e9");
  const json nested = json::parse(R"({"type":"Sequence","normalizers":[{"type":"NFC"}]})");
  EXPECT_TRUE(Normalizer::FromJson("test", nested)->changes_text());
  const json empty = json::parse(R"({"type":"Sequence","normalizers":[]})");
  EXPECT_FALSE(Normalizer::FromJson("test", empty)->changes_text());
  EXPECT_EQ(Normalizer::FromJson("test", json::parse(R"({"type":"Lowercase"})")).status().code(),
            absl::StatusCode::kUnimplemented);
  for (const char* broken : {"[]", "{}", R"({"type":1})", R"({"type":"Sequence"})"}) {
    EXPECT_EQ(Normalizer::FromJson("test", json::parse(broken)).status().code(),
              absl::StatusCode::kInvalidArgument)
        << broken;
  }
}

}  // namespace
}  // namespace transmla
