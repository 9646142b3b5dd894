#include "engine/tokenizer/byte_alphabet.h"

#include <array>

#include "engine/base/utf8.h"

namespace transmla {
namespace {

constexpr int kOthers = 68;  // bytes that do not stand for themselves

constexpr bool StandsForItself(int byte) {
  return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

struct Alphabet {
  std::array<uint32_t, 256> code_point = {};
  // The byte of each code point below U+0100 + kOthers, or -1.
  std::array<int16_t, 256 + kOthers> byte = {};

  constexpr Alphabet() {
    for (int16_t& b : byte) b = -1;
    uint32_t next = 256;
    for (int b = 0; b < 256; ++b) {
      const uint32_t c = StandsForItself(b) ? static_cast<uint32_t>(b) : next++;
      code_point[static_cast<size_t>(b)] = c;
      byte[c] = static_cast<int16_t>(b);
    }
  }
};

constexpr Alphabet kAlphabet;

}  // namespace

std::string AlphabetCharacter(uint8_t byte) {
  std::string text;
  AppendUtf8(kAlphabet.code_point[byte], text);
  return text;
}

std::optional<std::string> BytesFromAlphabet(absl::string_view token_text) {
  std::string bytes;
  bytes.reserve(token_text.size());
  while (!token_text.empty()) {
    const Utf8Step step = NextUtf8(token_text);
    if (!step.valid || step.code_point >= kAlphabet.byte.size()) return std::nullopt;
    const int16_t byte = kAlphabet.byte[step.code_point];
    if (byte < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(byte));
    token_text.remove_prefix(static_cast<size_t>(step.bytes));
  }
  return bytes;
}

}  // namespace transmla
