#include "engine/tool_call/call.h"

#include <cstddef>
#include <utility>

#include "absl/strings/str_cat.h"
#include <nlohmann/json.hpp>

namespace transmla {
namespace {

using Json = nlohmann::json;

std::string Quoted(const std::string& text) {
  return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
}

// Receives the library's parse events and writes the arguments again as they come; a false answer
// stops the parser. A tree in the model's order would take quadratic time for many keys.
class Reader : public nlohmann::json_sax<Json> {
 public:
  bool null() override { return Scalar("null"); }
  bool boolean(bool value) override { return Scalar(value ? "true" : "false"); }
  bool number_integer(number_integer_t value) override { return Scalar(absl::StrCat(value)); }
  bool number_unsigned(number_unsigned_t value) override { return Scalar(absl::StrCat(value)); }
  bool number_float(number_float_t, const string_t& text) override { return Scalar(text); }
  bool binary(binary_t&) override { return false; }
  bool string(string_t& value) override {
    if (depth_ == call_depth_ && field_ == Field::kName) {
      calls_.back().name = std::move(value);
      return !calls_.back().name.empty();
    }
    return Scalar(Quoted(value));
  }

  bool key(string_t& name) override {
    if (depth_ == call_depth_) return Enter(name);
    if (Writing()) {
      Separate();
      absl::StrAppend(&calls_.back().arguments, Quoted(name), ":");
      separate_ = false;
    }
    return true;
  }

  bool start_object(std::size_t) override {
    if (call_depth_ == 0) call_depth_ = 1;
    if (depth_ < call_depth_) {
      calls_.emplace_back();
      ++depth_;
      return true;
    }
    if (depth_ == call_depth_ && field_ == Field::kName) return false;
    return Open("{");
  }
  bool start_array(std::size_t) override {
    if (call_depth_ == 0) {
      call_depth_ = 2;
      ++depth_;
      return true;
    }
    return AnyValueFits() && Open("[");
  }
  bool end_object() override {
    Close("}");
    if (depth_ >= call_depth_) return true;
    return !calls_.back().name.empty() && !calls_.back().arguments.empty();
  }
  bool end_array() override {
    Close("]");
    return true;
  }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception&) override {
    return false;
  }

  std::vector<ToolCall> TakeCalls() { return std::move(calls_); }

 private:
  enum class Field { kOther, kName, kArguments };

  // A key of the call itself.
  bool Enter(absl::string_view name) {
    separate_ = false;
    field_ = Field::kOther;
    if (name == "name") {
      field_ = Field::kName;
      return calls_.back().name.empty();
    }
    if (name == "arguments" || name == "parameters") {
      field_ = Field::kArguments;
      return calls_.back().arguments.empty();
    }
    return true;
  }

  bool Scalar(absl::string_view text) {
    if (Writing()) {
      Separate();
      absl::StrAppend(&calls_.back().arguments, text);
    }
    return AnyValueFits();
  }

  bool Open(absl::string_view bracket) {
    ++depth_;
    if (Writing()) {
      Separate();
      absl::StrAppend(&calls_.back().arguments, bracket);
      separate_ = false;
    }
    return true;
  }

  void Close(absl::string_view bracket) {
    if (Writing()) absl::StrAppend(&calls_.back().arguments, bracket);
    separate_ = true;
    --depth_;
  }

  void Separate() {
    if (std::exchange(separate_, true)) calls_.back().arguments += ',';
  }

  // Not where a call, its name or its arguments are due.
  bool AnyValueFits() const {
    return depth_ > call_depth_ || (depth_ == call_depth_ && field_ == Field::kOther);
  }
  bool Writing() const { return depth_ > call_depth_ && field_ == Field::kArguments; }

  std::vector<ToolCall> calls_;
  int depth_ = 0;       // objects and arrays that are open
  int call_depth_ = 0;  // of them, inside a call but not its values: 1, in an array of calls 2
  Field field_ = Field::kOther;  // of the call that is open
  bool separate_ = false;        // a comma goes before what is written next
};

}  // namespace

std::vector<ToolCall> ReadToolCalls(absl::string_view json) {
  Reader reader;
  if (!Json::sax_parse(json.begin(), json.end(), &reader)) return {};
  return reader.TakeCalls();
}

}  // namespace transmla
