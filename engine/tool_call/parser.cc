#include "engine/tool_call/parser.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace transmla {
namespace {

constexpr absl::string_view kHermesClosing = "</tool_call>";
constexpr absl::string_view kMistralArguments = "[ARGS]";

bool IsNameByte(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-' || c == '.';
}

}  // namespace

ToolCallParser::Result ToolCallParser::Push(absl::string_view text) {
  if (format_ == ToolCallFormat::kNone) return {std::string(text), {}};
  Result result;
  for (const char c : text) Feed(c, result);
  return result;
}

ToolCallParser::Result ToolCallParser::Flush() {
  Result result;
  if (state_ != State::kBetween) result.text = std::move(held_);
  Reset(State::kText);
  return result;
}

void ToolCallParser::Feed(char c, Result& result) {
  if (std::exchange(skip_newline_, false) && c == '\n') return;
  while (!Continues(c)) {
    if (held_.empty()) {
      state_ = State::kText;
      result.text += c;
      return;
    }
    GiveUp(result);
  }
  held_ += c;
  if (held_.size() > kMaxCallBytes) {
    GiveUp(result);
  } else if (state_ == State::kComplete) {
    Complete(result);
  }
}

bool ToolCallParser::Continues(char c) {
  switch (state_) {
    case State::kStart:
    case State::kBetween:
    case State::kSeparated:
      if (IsJsonSpace(c)) return true;
      if (format_ == ToolCallFormat::kLlama3) {
        if (c == '{') return BeginJson(c);
        if (c == ';' && state_ == State::kBetween) {
          state_ = State::kSeparated;
          return true;
        }
      }
      return BeginLiteral(c, opening_marker_, State::kOpened);
    case State::kText:
      return (c == '\n' && held_.empty()) || BeginLiteral(c, opening_marker_, State::kOpened);
    case State::kLiteral:
      if (c != literal_rest_[0]) return false;
      literal_rest_.remove_prefix(1);
      if (literal_rest_.empty()) state_ = after_literal_;
      return true;
    case State::kOpened:
      if (IsJsonSpace(c)) return true;
      if (format_ != ToolCallFormat::kMistral) return c == '{' && BeginJson(c);
      if (c == '[') return BeginJson(c);
      state_ = State::kName;
      [[fallthrough]];
    case State::kName:
      if (IsNameByte(c)) {
        name_ += c;
        return true;
      }
      if (name_.empty()) return false;
      if (c == '{') return BeginJson(c);
      return BeginLiteral(c, kMistralArguments, State::kNamed);
    case State::kNamed:
      return IsJsonSpace(c) || (c == '{' && BeginJson(c));
    case State::kJson:
      return ContinueJson(c);
    case State::kClosing:
      return IsJsonSpace(c) || BeginLiteral(c, kHermesClosing, State::kComplete);
    case State::kComplete:
      return false;
  }
  return false;
}

bool ToolCallParser::BeginLiteral(char c, absl::string_view literal, State then) {
  if (c != literal[0]) return false;
  state_ = State::kLiteral;
  literal_rest_ = literal.substr(1);
  after_literal_ = then;
  return true;
}

bool ToolCallParser::BeginJson(char c) {
  state_ = State::kJson;
  scanner_ = JsonScanner();
  json_begin_ = held_.size();
  return ContinueJson(c);
}

bool ToolCallParser::ContinueJson(char c) {
  const JsonScanner::Step step = scanner_.Push(c);
  if (step == JsonScanner::Step::kEnd) {
    json_end_ = held_.size() + 1;
    state_ = format_ == ToolCallFormat::kHermes ? State::kClosing : State::kComplete;
  }
  return step != JsonScanner::Step::kError;
}

void ToolCallParser::Complete(Result& result) {
  const absl::string_view json =
      absl::string_view(held_).substr(json_begin_, json_end_ - json_begin_);
  // A name's bytes need no escapes.
  std::vector<ToolCall> calls =
      name_.empty()
          ? ReadToolCalls(json)
          : ReadToolCalls(absl::StrCat("{\"name\":\"", name_, "\",\"arguments\":", json, "}"));
  if (calls.empty()) return GiveUp(result);
  for (ToolCall& call : calls) result.calls.push_back(std::move(call));
  Reset(State::kBetween);
  skip_newline_ = true;
}

void ToolCallParser::GiveUp(Result& result) {
  // The end of it may begin another call: a "[" that was taken for that of [ARGS], for one.
  const auto begins_a_call = [this](absl::string_view text) {
    return absl::StartsWith(opening_marker_, absl::StripPrefix(text, "\n"));
  };
  size_t begin = held_.size() - std::min(held_.size() - 1, opening_marker_.size() + 1);
  while (!begins_a_call(absl::string_view(held_).substr(begin))) ++begin;
  const std::string tail = held_.substr(begin);
  result.text.append(held_, 0, begin);
  Reset(State::kText);
  for (const char c : tail) {
    Continues(c);
    held_ += c;
  }
}

void ToolCallParser::Reset(State state) {
  held_.clear();
  name_.clear();
  state_ = state;
}

}  // namespace transmla
