// The tokenizer fixtures of tests/golden/tokenizers; make_tokenizers.py describes their rows.
#ifndef TRANSMLA_TESTS_ENGINE_TOKENIZER_FIXTURES_H_
#define TRANSMLA_TESTS_ENGINE_TOKENIZER_FIXTURES_H_

#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "gtest/gtest.h"
#include <nlohmann/json.hpp>

#include "engine/tokenizer/tokenizer.h"

namespace transmla::testing {

inline std::string FixturePath(absl::string_view name) {
  return absl::StrCat(TRANSMLA_SOURCE_DIR, "/tests/golden/tokenizers/", name);
}

inline std::string ReadFixture(absl::string_view name) {
  std::ifstream file(FixturePath(name), std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// The rows of a .jsonl file.
inline std::vector<nlohmann::json> FixtureRows(absl::string_view name) {
  std::vector<nlohmann::json> rows;
  std::ifstream file(FixturePath(name));
  for (std::string line; std::getline(file, line);) rows.push_back(nlohmann::json::parse(line));
  EXPECT_FALSE(rows.empty()) << name;
  return rows;
}

// Rows [text, ids as plain text, ids with control tokens or null if the same, text of the plain ids
// or null if the same].
inline void ExpectRows(const Tokenizer& tokenizer, const std::vector<nlohmann::json>& rows) {
  int wrong = 0;
  for (const nlohmann::json& row : rows) {
    const auto text = row[0].get<std::string>();
    const auto plain = row[1].get<std::vector<TokenId>>();
    const auto control = row[2].is_null() ? plain : row[2].get<std::vector<TokenId>>();
    const auto back = row[3].is_null() ? text : row[3].get<std::string>();
    const auto ids = tokenizer.Encode(text, {.add_bos = false, .parse_special = false});
    ASSERT_TRUE(ids.ok()) << ids.status();
    EXPECT_EQ(*ids, plain) << row[0];
    const auto special = tokenizer.Encode(text, {.add_bos = false, .parse_special = true});
    ASSERT_TRUE(special.ok()) << special.status();
    EXPECT_EQ(*special, control) << row[0];
    EXPECT_EQ(tokenizer.Decode(plain, /*skip_control=*/false), back) << row[0];
    wrong += *ids != plain || *special != control;
    ASSERT_LT(wrong, 20) << "too many differences to show";
  }
}

}  // namespace transmla::testing

#endif  // TRANSMLA_TESTS_ENGINE_TOKENIZER_FIXTURES_H_
