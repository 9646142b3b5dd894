// GPT-2's byte alphabet: every byte as one printable character, so that a vocabulary of bytes is
// text.
//
// Bytes 33–126, 161–172 and 174–255 stand for themselves (as Latin-1); the other 68, in order, for
// U+0100, U+0101, … (Radford et al. 2019, bytes_to_unicode). A space is "Ġ", a newline "Ċ".
#ifndef TRANSMLA_ENGINE_TOKENIZER_BYTE_ALPHABET_H_
#define TRANSMLA_ENGINE_TOKENIZER_BYTE_ALPHABET_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace transmla {

// The character of a byte, as UTF-8.
std::string AlphabetCharacter(uint8_t byte);

// The bytes that a token's text stands for; nothing if a character of it is not in the alphabet.
std::optional<std::string> BytesFromAlphabet(absl::string_view token_text);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_TOKENIZER_BYTE_ALPHABET_H_
