// The part of template_json.h that reads JSON.
#include <cstddef>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include <nlohmann/json.hpp>

#include "engine/base/status.h"
#include "engine/tokenizer/template_json.h"
#include "engine/tokenizer/template_limits.h"

namespace transmla::jinja {
namespace {

// Builds values from the library's parse events; a false answer stops the parser.
class Builder : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit Builder(Budget& budget) : budget_(budget) {}

  bool null() override { return Add(Value::None()); }
  bool boolean(bool value) override { return Add(Value::Bool(value)); }
  bool number_integer(number_integer_t value) override { return Add(Value::Int(value)); }
  bool number_unsigned(number_unsigned_t value) override { return Add(Value::Int(value)); }
  bool number_float(number_float_t value, const string_t&) override {
    return Add(Value::Float(value));
  }
  bool string(string_t& value) override { return Add(MakeText(value, budget_)); }
  bool binary(binary_t&) override { return Fail(absl::InvalidArgumentError("binary data")); }
  bool start_object(std::size_t) override { return Open(/*is_object=*/true); }
  bool start_array(std::size_t) override { return Open(/*is_object=*/false); }
  bool key(string_t& name) override {
    open_.back().key = std::make_shared<const std::string>(name);
    return true;
  }
  bool end_object() override {
    auto object = std::make_shared<const Dict>(std::move(open_.back().object));
    open_.pop_back();
    return Add(Value::Of(std::move(object)));
  }
  bool end_array() override {
    std::vector<Value> items = std::move(open_.back().items);
    open_.pop_back();
    return Add(MakeList(std::move(items), budget_));
  }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& error) override {
    // "[json.exception.parse_error.101] parse error at line 1, column 5: syntax error …"
    absl::string_view what = error.what();
    if (const size_t end = what.find("] "); end != absl::string_view::npos) {
      what.remove_prefix(end + 2);
    }
    // The library quotes what it read; quotes stay as they are, other odd bytes do not.
    const std::string printable =
        absl::StrReplaceAll(absl::CHexEscape(what.substr(0, 200)), {{"\\'", "'"}, {"\\\"", "\""}});
    return Fail(
        absl::InvalidArgumentError(absl::StrCat("not JSON at byte ", position, ": ", printable)));
  }

  absl::StatusOr<Value> Take() {
    if (!status_.ok()) return status_;
    return std::move(root_);
  }

 private:
  struct Container {
    bool is_object;
    TextPtr key;  // of the value that comes next
    Dict object;
    std::vector<Value> items;
  };

  bool Open(bool is_object) {
    if (open_.size() >= static_cast<size_t>(kMaxValueDepth)) {
      return Fail(absl::InvalidArgumentError(
          absl::StrCat("nested deeper than the limit of ", kMaxValueDepth)));
    }
    open_.push_back({is_object, nullptr, {}, {}});
    return true;
  }
  bool Add(absl::StatusOr<Value> value) {
    if (!value.ok()) return Fail(value.status());
    if (open_.empty()) {
      root_ = *std::move(value);
      return true;
    }
    Container& into = open_.back();
    if (into.is_object) {
      const absl::Status set = into.object.Set(std::move(into.key), *std::move(value), budget_);
      return set.ok() || Fail(set);
    }
    // Charged here too, so that a list cannot grow unseen until it ends.
    if (const absl::Status charged = budget_.Write(sizeof(Value)); !charged.ok()) {
      return Fail(charged);
    }
    into.items.push_back(*std::move(value));
    return true;
  }
  bool Fail(absl::Status status) {
    if (status_.ok()) status_ = std::move(status);
    return false;
  }

  Budget& budget_;
  std::vector<Container> open_;
  Value root_;
  absl::Status status_;
};

}  // namespace

absl::StatusOr<Value> ParseJson(absl::string_view text, Budget& budget) {
  Builder builder(budget);
  nlohmann::json::sax_parse(text.begin(), text.end(), &builder);
  return builder.Take();
}

}  // namespace transmla::jinja
