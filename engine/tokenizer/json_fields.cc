#include "engine/tokenizer/json_fields.h"

#include "absl/strings/str_cat.h"

#include "engine/base/status.h"
#include "engine/format/json_check.h"

namespace transmla {

using nlohmann::json;

std::string ShowJson(const json& value) {
  return value.dump(-1, ' ', /*ensure_ascii=*/true, json::error_handler_t::replace).substr(0, 64);
}

absl::StatusOr<json> ParseJsonObject(const std::string& path, absl::string_view text) {
  RETURN_IF_ERROR(CheckJson(path, text));
  return json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
}

absl::StatusOr<JsonFields> JsonFields::Of(const std::string& where, const json& object) {
  if (!object.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, " is ", ShowJson(object), ", not an object"));
  }
  return JsonFields(where, object);
}

std::string JsonFields::Where(absl::string_view key) const {
  return absl::StrCat(where_, ": ", key);
}

absl::Status JsonFields::Invalid(absl::string_view key, absl::string_view what) const {
  return absl::InvalidArgumentError(absl::StrCat(Where(key), " ", what));
}

const json* JsonFields::Find(const char* key) const {
  const auto it = object_->find(key);
  return it == object_->end() || it->is_null() ? nullptr : &*it;
}

absl::StatusOr<bool> JsonFields::Bool(const char* key, bool otherwise) const {
  const json* found = Find(key);
  if (found == nullptr) return otherwise;
  if (!found->is_boolean())
    return Invalid(key, absl::StrCat("is ", ShowJson(*found), ", not a bool"));
  return found->get<bool>();
}

absl::StatusOr<std::string> JsonFields::Text(const char* key, absl::string_view otherwise) const {
  return Find(key) == nullptr ? std::string(otherwise) : RequireText(key);
}

absl::StatusOr<std::string> JsonFields::RequireText(const char* key) const {
  const json* found = Find(key);
  if (found == nullptr) return Invalid(key, "is missing");
  if (!found->is_string())
    return Invalid(key, absl::StrCat("is ", ShowJson(*found), ", not a string"));
  return found->get<std::string>();
}

absl::StatusOr<int64_t> JsonFields::RequireInt(const char* key, int64_t least, int64_t most) const {
  const json* found = Find(key);
  if (found == nullptr) return Invalid(key, "is missing");
  // Integers above the signed range are unsigned in this library and would wrap.
  const bool fits = found->is_number_integer() &&
                    (!found->is_number_unsigned() || found->get<uint64_t>() <= INT64_MAX);
  if (!fits || found->get<int64_t>() < least || found->get<int64_t>() > most) {
    return Invalid(
        key, absl::StrCat("is ", ShowJson(*found), ", not an integer from ", least, " to ", most));
  }
  return found->get<int64_t>();
}

absl::StatusOr<const json*> JsonFields::RequireArray(const char* key) const {
  const json* found = Find(key);
  if (found == nullptr) return Invalid(key, "is missing");
  if (!found->is_array())
    return Invalid(key, absl::StrCat("is ", ShowJson(*found), ", not an array"));
  return found;
}

}  // namespace transmla
