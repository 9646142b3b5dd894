// JsonFields: the fields of one JSON object of a tokenizer's files, with types checked.
//
// A key whose value is null counts as absent, as in Python. Messages name file, field and value.
#ifndef TRANSMLA_ENGINE_TOKENIZER_JSON_FIELDS_H_
#define TRANSMLA_ENGINE_TOKENIZER_JSON_FIELDS_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include <nlohmann/json.hpp>

namespace transmla {

// A value of JSON for messages; long ones are cut.
std::string ShowJson(const nlohmann::json& value);

// Parses one object after CheckJson (engine/format/json_check.h).
absl::StatusOr<nlohmann::json> ParseJsonObject(const std::string& path, absl::string_view text);

class JsonFields {
 public:
  // `where` names the object: "model/tokenizer.json: model". The object must outlive this.
  // InvalidArgument if `object` is none.
  static absl::StatusOr<JsonFields> Of(const std::string& where, const nlohmann::json& object);

  const std::string& where() const { return where_; }
  std::string Where(absl::string_view key) const;
  absl::Status Invalid(absl::string_view key, absl::string_view what) const;

  // Null if the key is absent.
  const nlohmann::json* Find(const char* key) const;
  // The getters return `otherwise` for an absent key.
  absl::StatusOr<bool> Bool(const char* key, bool otherwise) const;
  absl::StatusOr<std::string> Text(const char* key, absl::string_view otherwise) const;
  // The following want the key.
  absl::StatusOr<std::string> RequireText(const char* key) const;
  absl::StatusOr<int64_t> RequireInt(const char* key, int64_t least, int64_t most) const;
  absl::StatusOr<const nlohmann::json*> RequireArray(const char* key) const;

 private:
  JsonFields(std::string where, const nlohmann::json& object)
      : where_(std::move(where)), object_(&object) {}

  std::string where_;
  const nlohmann::json* object_;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_TOKENIZER_JSON_FIELDS_H_
