// SentencePieceLibrary: what this folder uses of libsentencepiece, behind an interface that a
// module implements.
//
// Debian's libsentencepiece exports the symbols of a protobuf of its own. In one process with the
// libprotobuf that gRPC needs, the dynamic linker would bind each library's calls to the other's
// functions, and neither works. So nothing links it: sentencepiece_module.cc is a shared object
// that is opened, isolated, for the first model that needs it (sentencepiece_open.h).
//
// The library's header also declares absl::string_view anew and cannot be seen together with
// Abseil's; so this header has standard types only.
#ifndef TRANSMLA_ENGINE_TOKENIZER_SENTENCEPIECE_LIBRARY_H_
#define TRANSMLA_ENGINE_TOKENIZER_SENTENCEPIECE_LIBRARY_H_

#include <string>
#include <string_view>
#include <vector>

namespace transmla {

// Immutable after Load; thread-safe then.
class SentencePieceLibrary {
 public:
  enum class Type { kNormal, kUnknown, kControl, kUnused, kByte };

  virtual ~SentencePieceLibrary() = default;

  // `proto` is a serialised ModelProto, the content of a tokenizer.model. Returns what is wrong
  // with it, or nothing. The other members may be used after a good Load only.
  virtual std::string Load(std::string_view proto) = 0;

  // Appends the ids of `text`. Returns what went wrong, or nothing.
  virtual std::string Encode(std::string_view text, std::vector<int>& ids) const = 0;

  virtual int size() const = 0;
  // REQUIRES of these: 0 <= id < size().
  virtual const std::string& Piece(int id) const = 0;
  virtual Type TypeOf(int id) const = 0;  // user-defined pieces count as normal
  // -1: none. The model's beginning- and end-of-text tokens.
  virtual int bos() const = 0;
  virtual int eos() const = 0;
};

// The module's one symbol: makes a library that has loaded nothing; the caller owns it.
inline constexpr char kSentencePieceFactory[] = "TransMlaNewSentencePiece";
using SentencePieceFactory = SentencePieceLibrary* (*)();

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_TOKENIZER_SENTENCEPIECE_LIBRARY_H_
