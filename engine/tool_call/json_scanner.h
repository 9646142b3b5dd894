// JsonScanner finds where a JSON object or array ends, byte by byte as its text comes.
//
// It also sees at once most of what makes a text no JSON, so that text which only looks like the
// beginning of a call is not held back to its end.
#ifndef TRANSMLA_ENGINE_TOOL_CALL_JSON_SCANNER_H_
#define TRANSMLA_ENGINE_TOOL_CALL_JSON_SCANNER_H_

#include <cstdint>

namespace transmla {

// White space between JSON's tokens.
inline bool IsJsonSpace(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

// Copyable value; thread-compatible.
class JsonScanner {
 public:
  // Deeper text is refused: no tool's arguments need it, and a bit per level fits one word.
  static constexpr int kMaxDepth = 64;

  enum class Step {
    kMore,
    kEnd,    // this byte closes the object or array; nothing may be pushed after
    kError,  // no JSON goes on with this byte; nothing may be pushed after
  };
  // Constant time. The first byte must open an object or array. Every JSON text nested at most
  // kMaxDepth deep is accepted; of numbers, literals and \u escapes only the letters are checked.
  Step Push(char c);

 private:
  enum class State {
    kFirst,
    kValue,
    kValueOrClose,
    kKey,
    kKeyOrClose,
    kColon,
    kCommaOrClose,
    kString,
    kEscape,
    kAtom,  // a number or literal
  };
  Step Go(State state);
  Step Value(char c);
  Step Open(bool is_object);
  Step Close(bool is_object);
  bool InObject() const { return (objects_ & 1) != 0; }

  State state_ = State::kFirst;
  bool is_key_ = false;   // the string that is open
  int depth_ = 0;         // objects and arrays that are open
  uint64_t objects_ = 0;  // bit i: the i-th of them from within is an object
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_TOOL_CALL_JSON_SCANNER_H_
