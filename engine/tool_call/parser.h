// ToolCallParser separates the calls in generated text from the text around them, as it streams.
//
// Only what could still become a call is held back. What turns out to be none comes out as text,
// byte for byte, and the search goes on from the byte that showed it. How the text comes in pieces
// does not matter.
//
// White space (space, tab, CR, LF) goes with a call, and out of the text, where a format puts it:
//  - inside, between markers and JSON, in any amount;
//  - before a call: all of it at the beginning of the reply or after another call, else one LF
//    directly before;
//  - after a call: all of it before another call or the end of the reply, else one LF directly
//    after.
// Llama's ";" between two calls goes too. Everything else stays, and around text that is no call
// all of it does.
#ifndef TRANSMLA_ENGINE_TOOL_CALL_PARSER_H_
#define TRANSMLA_ENGINE_TOOL_CALL_PARSER_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "engine/tool_call/call.h"
#include "engine/tool_call/format.h"
#include "engine/tool_call/json_scanner.h"

namespace transmla {

// Thread-compatible. Time is linear in the text, memory at most a few times kMaxCallBytes.
class ToolCallParser {
 public:
  // A longer call, markers and white space included, is given up and comes out as text.
  static constexpr size_t kMaxCallBytes = size_t{1} << 20;

  explicit ToolCallParser(ToolCallFormat format)
      : format_(format), opening_marker_(OpeningMarker(format)) {}

  struct Result {
    std::string text;             // may go out now
    std::vector<ToolCall> calls;  // complete now; where they stood in `text` is not told
  };
  // Takes the next piece of text: UTF-8, control tokens spelled out.
  Result Push(absl::string_view text);
  // What was held back, once no more text comes: what is no complete call is text.
  Result Flush();

 private:
  enum class State {
    kStart,      // white space at the beginning of the reply
    kBetween,    // white space after a call
    kSeparated,  // the same, behind a ";"
    kText,       // held back is at most an LF
    kLiteral,    // inside a marker
    kOpened,     // behind the opening marker
    kName,       // Mistral: [TOOL_CALLS]name
    kNamed,      // Mistral: behind [ARGS]
    kJson,       // inside the call's object or array
    kClosing,    // Hermes: behind the object
    kComplete,   // the last byte was the call's last
  };
  void Feed(char c, Result& result);
  // Whether `c` and what is held back can be the beginning of a call; then `c` is to be held too.
  bool Continues(char c);
  bool BeginLiteral(char c, absl::string_view literal, State then);
  bool BeginJson(char c);
  bool ContinueJson(char c);
  void Complete(Result& result);
  // Lets out what is held back but for an end that can be the beginning of a call.
  // REQUIRES: something is held back.
  void GiveUp(Result& result);
  void Reset(State state);

  const ToolCallFormat format_;
  const absl::string_view opening_marker_;
  State state_ = State::kStart;
  bool skip_newline_ = false;  // the byte before was a call's last
  std::string held_;
  absl::string_view literal_rest_;       // kLiteral: what is still to come
  State after_literal_ = State::kStart;  // kLiteral: and what follows
  std::string name_;                     // kName and later
  JsonScanner scanner_;
  size_t json_begin_ = 0;  // in held_
  size_t json_end_ = 0;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_TOOL_CALL_PARSER_H_
