// TestTokenizer: ids 0 to 255 are the bytes, 256 ends a text, 257 is another control token.
#ifndef TRANSMLA_TESTS_ENGINE_SERVE_TEST_TOKENIZER_H_
#define TRANSMLA_TESTS_ENGINE_SERVE_TEST_TOKENIZER_H_

#include <optional>
#include <string>
#include <vector>

#include "engine/tokenizer/tokenizer.h"

namespace transmla {

class TestTokenizer : public Tokenizer {
 public:
  static constexpr TokenId kEos = 256;
  static constexpr TokenId kControl = 257;
  static constexpr int kVocabulary = 258;

  absl::StatusOr<std::vector<TokenId>> Encode(absl::string_view text,
                                              const EncodeOptions&) const override {
    std::vector<TokenId> ids;
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }
  std::string TokenBytes(TokenId id) const override {
    return id >= 0 && id < 256 ? std::string(1, static_cast<char>(id)) : "";
  }
  bool IsControl(TokenId id) const override { return id == kEos || id == kControl; }
  std::string TokenText(TokenId id) const override {
    if (id == kEos) return "<eos>";
    return id == kControl ? "<control>" : TokenBytes(id);
  }
  int vocab_size() const override { return kVocabulary; }
  std::optional<TokenId> bos() const override { return std::nullopt; }
  absl::Span<const TokenId> eos() const override { return eos_; }
  std::optional<TokenId> Find(absl::string_view) const override { return std::nullopt; }

 private:
  const std::vector<TokenId> eos_ = {kEos};
};

// The bytes of every token, by id.
inline std::vector<std::string> TestVocabulary() {
  const TestTokenizer tokenizer;
  std::vector<std::string> bytes;
  for (int id = 0; id < tokenizer.vocab_size(); ++id) bytes.push_back(tokenizer.TokenBytes(id));
  return bytes;
}

}  // namespace transmla

#endif  // TRANSMLA_TESTS_ENGINE_SERVE_TEST_TOKENIZER_H_
