#include "engine/tokenizer/template_callable.h"

#include <algorithm>
#include <cstdint>
#include <limits>

#include "absl/strings/str_cat.h"

#include "engine/base/status.h"
#include "engine/tokenizer/template_operators.h"

namespace transmla::jinja {

bool Bound::Flag(size_t i, bool otherwise) const {
  return Given(i) ? Truth(values_[i]) : otherwise;
}

absl::StatusOr<int64_t> Bound::Int(size_t i, int64_t otherwise) const {
  if (!Given(i) || values_[i].IsNone()) return otherwise;
  if (const bool* flag = values_[i].IfBool()) return *flag ? 1 : 0;
  const Integer* number = values_[i].IfInt();
  if (number == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("an argument is of type '", values_[i].TypeName(), "', not 'int'"));
  }
  const Integer low = std::numeric_limits<int64_t>::min(),
                high = std::numeric_limits<int64_t>::max();
  return static_cast<int64_t>(std::clamp(*number, low, high));
}

absl::StatusOr<absl::string_view> Bound::Text(size_t i, absl::string_view otherwise) const {
  if (!Given(i) || values_[i].IsNone()) return otherwise;
  if (const std::string* text = values_[i].IfText()) return absl::string_view(*text);
  return absl::InvalidArgumentError(
      absl::StrCat("an argument is of type '", values_[i].TypeName(), "', not 'str'"));
}

absl::StatusOr<Bound> Bind(absl::string_view function, const Arguments& arguments,
                           std::initializer_list<absl::string_view> parameters, size_t required) {
  if (arguments.positional.size() > parameters.size()) {
    return absl::InvalidArgumentError(absl::StrCat(function, "() takes at most ", parameters.size(),
                                                   " arguments but ", arguments.positional.size(),
                                                   " were given"));
  }
  std::vector<Value> values = arguments.positional;
  std::vector<bool> given(parameters.size(), false);
  std::fill_n(given.begin(), values.size(), true);
  values.resize(parameters.size());
  for (const auto& [name, value] : arguments.keyword) {
    const auto found = std::find(parameters.begin(), parameters.end(), name);
    if (found == parameters.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat(function, "() has no argument named '", name, "'"));
    }
    const auto i = static_cast<size_t>(found - parameters.begin());
    if (given[i]) {
      return absl::InvalidArgumentError(
          absl::StrCat(function, "() is given its argument '", name, "' twice"));
    }
    given[i] = true;
    values[i] = value;
  }
  for (size_t i = 0; i < required; ++i) {
    if (!given[i]) {
      return absl::InvalidArgumentError(
          absl::StrCat(function, "() needs its argument '", *(parameters.begin() + i), "'"));
    }
    if (values[i].IsUndefined()) return absl::InvalidArgumentError(values[i].reason());
  }
  return Bound(std::move(values));
}

}  // namespace transmla::jinja
