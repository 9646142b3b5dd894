// SentencePieceLibrary: what this folder uses of libsentencepiece.
//
// The library's header declares absl::string_view anew and cannot be seen together with Abseil's;
// so this header has standard types only, and its source is the one file that includes the library.
#ifndef TRANSMLA_ENGINE_TOKENIZER_SENTENCEPIECE_LIBRARY_H_
#define TRANSMLA_ENGINE_TOKENIZER_SENTENCEPIECE_LIBRARY_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace transmla {

// Immutable after Load; thread-safe then.
class SentencePieceLibrary {
 public:
  enum class Type { kNormal, kUnknown, kControl, kUnused, kByte };

  SentencePieceLibrary();
  ~SentencePieceLibrary();

  // `proto` is a serialised ModelProto, the content of a tokenizer.model. Returns what is wrong
  // with it, or nothing. The other members may be used after a good Load only.
  std::string Load(std::string_view proto);

  // Appends the ids of `text`. Returns what went wrong, or nothing.
  std::string Encode(std::string_view text, std::vector<int>& ids) const;

  int size() const;
  // REQUIRES of these: 0 <= id < size().
  const std::string& Piece(int id) const;
  Type TypeOf(int id) const;  // user-defined pieces count as normal
  // -1: none. The model's beginning- and end-of-text tokens.
  int bos() const;
  int eos() const;

 private:
  struct Processor;
  std::unique_ptr<Processor> processor_;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_TOKENIZER_SENTENCEPIECE_LIBRARY_H_
