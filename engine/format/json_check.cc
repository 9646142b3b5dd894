#include "engine/format/json_check.h"

#include <cstddef>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include <nlohmann/json.hpp>

#include "engine/format/limits.h"

namespace transmla {
namespace {

// Receives the library's parse events; a false answer stops the parser.
class Checker : public nlohmann::json_sax<nlohmann::json> {
 public:
  bool null() override { return Value(); }
  bool boolean(bool) override { return Value(); }
  bool number_integer(number_integer_t) override { return Value(); }
  bool number_unsigned(number_unsigned_t) override { return Value(); }
  bool number_float(number_float_t, const string_t&) override { return Value(); }
  bool string(string_t&) override { return Value(); }
  bool binary(binary_t&) override { return Value(); }

  bool start_object(std::size_t) override {
    open_.emplace_back();
    return Deeper();
  }
  bool end_object() override {
    open_.pop_back();
    return true;
  }
  bool start_array(std::size_t) override {
    if (!Value()) return false;
    open_.emplace_back();
    return Deeper();
  }
  bool end_array() override {
    open_.pop_back();
    return true;
  }
  bool key(string_t& name) override {
    if (open_.back().insert(name).second) return true;
    error_ = absl::StrCat("key \"", absl::CHexEscape(name.substr(0, 64)), "\" occurs twice");
    return false;
  }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& error) override {
    // "[json.exception.parse_error.101] parse error at line 1, column 5: syntax error …"
    absl::string_view what = error.what();
    if (const size_t end = what.find("] "); end != absl::string_view::npos) {
      what.remove_prefix(end + 2);
    }
    // The library quotes what it read; quotes stay as they are, other odd bytes do not.
    error_ = absl::StrCat(
        "not JSON at byte ", position, ": ",
        absl::StrReplaceAll(absl::CHexEscape(what.substr(0, 200)), {{"\\'", "'"}, {"\\\"", "\""}}));
    return false;
  }

  const std::string& error() const { return error_; }

 private:
  bool Value() {
    if (!open_.empty()) return true;
    error_ = "not a JSON object";
    return false;
  }
  bool Deeper() {
    if (open_.size() <= static_cast<size_t>(kMaxJsonDepth)) return true;
    error_ = absl::StrCat("nested deeper than the limit of ", kMaxJsonDepth);
    return false;
  }

  std::vector<absl::flat_hash_set<std::string>> open_;  // keys of each open object or array
  std::string error_;
};

}  // namespace

absl::Status CheckJson(const std::string& path, absl::string_view text) {
  Checker checker;
  if (nlohmann::json::sax_parse(text.begin(), text.end(), &checker)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", checker.error()));
}

}  // namespace transmla
