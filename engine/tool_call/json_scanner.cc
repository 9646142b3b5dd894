#include "engine/tool_call/json_scanner.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/string_view.h"

namespace transmla {
namespace {

constexpr absl::string_view kEscapable = "\"\\/bfnrtu";

bool IsAtomStart(char c) {
  return absl::ascii_isdigit(static_cast<unsigned char>(c)) || c == '-' || c == 't' || c == 'f' ||
         c == 'n';
}

bool IsAtomByte(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '+' || c == '.';
}

}  // namespace

JsonScanner::Step JsonScanner::Push(char c) {
  switch (state_) {
    case State::kString:
      if (c == '"') return Go(is_key_ ? State::kColon : State::kCommaOrClose);
      if (c == '\\') return Go(State::kEscape);
      return static_cast<unsigned char>(c) < 0x20 ? Step::kError : Step::kMore;
    case State::kEscape:
      if (!absl::StrContains(kEscapable, c)) return Step::kError;
      return Go(State::kString);
    case State::kAtom:
      if (IsAtomByte(c)) return Step::kMore;
      state_ = State::kCommaOrClose;
      break;
    case State::kFirst:
      return c == '{' || c == '[' ? Value(c) : Step::kError;
    default:
      break;
  }
  if (IsJsonSpace(c)) return Step::kMore;
  switch (state_) {
    case State::kValueOrClose:
      return c == ']' ? Close(/*is_object=*/false) : Value(c);
    case State::kValue:
      return Value(c);
    case State::kKeyOrClose:
    case State::kKey:
      if (c == '}' && state_ == State::kKeyOrClose) return Close(/*is_object=*/true);
      is_key_ = true;
      return c == '"' ? Go(State::kString) : Step::kError;
    case State::kColon:
      return c == ':' ? Go(State::kValue) : Step::kError;
    default:  // kCommaOrClose
      if (c == ',') return Go(InObject() ? State::kKey : State::kValue);
      return c == '}' || c == ']' ? Close(/*is_object=*/c == '}') : Step::kError;
  }
}

JsonScanner::Step JsonScanner::Go(State state) {
  state_ = state;
  return Step::kMore;
}

JsonScanner::Step JsonScanner::Value(char c) {
  is_key_ = false;
  if (c == '"') return Go(State::kString);
  if (c == '{' || c == '[') return Open(/*is_object=*/c == '{');
  return IsAtomStart(c) ? Go(State::kAtom) : Step::kError;
}

JsonScanner::Step JsonScanner::Open(bool is_object) {
  if (depth_ == kMaxDepth) return Step::kError;
  ++depth_;
  objects_ = objects_ << 1 | (is_object ? 1 : 0);
  return Go(is_object ? State::kKeyOrClose : State::kValueOrClose);
}

JsonScanner::Step JsonScanner::Close(bool is_object) {
  if (InObject() != is_object) return Step::kError;
  objects_ >>= 1;
  if (--depth_ == 0) return Step::kEnd;
  return Go(State::kCommaOrClose);
}

}  // namespace transmla
