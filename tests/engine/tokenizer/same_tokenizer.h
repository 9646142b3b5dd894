// Whether two checkpoints' tokenizers do the same.
#ifndef TRANSMLA_TESTS_ENGINE_TOKENIZER_SAME_TOKENIZER_H_
#define TRANSMLA_TESTS_ENGINE_TOKENIZER_SAME_TOKENIZER_H_

#include <string>

#include "gtest/gtest.h"

#include "engine/format/checkpoint.h"
#include "engine/tokenizer/load.h"

namespace transmla::testing {

inline LoadedTokenizer LoadTokenizerOf(const std::string& path) {
  const auto checkpoint = OpenCheckpoint(path);
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
  const auto loaded = LoadTokenizer(**checkpoint);
  EXPECT_TRUE(loaded.ok()) << loaded.status();
  return *loaded;
}

inline void ExpectSameTokenizer(const LoadedTokenizer& a, const LoadedTokenizer& b) {
  EXPECT_EQ(a.tokenizer->vocab_size(), b.tokenizer->vocab_size());
  EXPECT_EQ(a.tokenizer->bos(), b.tokenizer->bos());
  for (TokenId id = 0; id < a.tokenizer->vocab_size(); ++id) {
    EXPECT_EQ(a.tokenizer->TokenText(id), b.tokenizer->TokenText(id));
    EXPECT_EQ(a.tokenizer->TokenBytes(id), b.tokenizer->TokenBytes(id));
    EXPECT_EQ(a.tokenizer->IsControl(id), b.tokenizer->IsControl(id)) << id;
  }
  for (const char* text : {"", "ab ab", "a<s>b</s> ab<t>", " a  b", "a\tb漢", "<s", "abab b a"}) {
    for (const bool parse_special : {false, true}) {
      const EncodeOptions options = {.add_bos = true, .parse_special = parse_special};
      EXPECT_EQ(*a.tokenizer->Encode(text, options), *b.tokenizer->Encode(text, options)) << text;
    }
  }
  ASSERT_EQ(a.chat_template == nullptr, b.chat_template == nullptr);
  if (a.chat_template != nullptr) {
    EXPECT_EQ(a.chat_template->source(), b.chat_template->source());
  }
}

}  // namespace transmla::testing

#endif  // TRANSMLA_TESTS_ENGINE_TOKENIZER_SAME_TOKENIZER_H_
