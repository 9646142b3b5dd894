#include "engine/grammar/schema_document.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"

#include "engine/base/status.h"

namespace transmla::grammar {
namespace {

constexpr int kMaxReferences = 64;  // one after the other
constexpr int kMaxSchemaDepth = 256;
constexpr int kMaxExcludeDepth = 4;

constexpr const char* kTypes[] = {"object",  "array",   "string", "number",
                                  "integer", "boolean", "null"};

constexpr absl::string_view kSupported[] = {"type",
                                            "enum",
                                            "const",
                                            "properties",
                                            "required",
                                            "additionalProperties",
                                            "items",
                                            "minItems",
                                            "maxItems",
                                            "prefixItems",
                                            "minLength",
                                            "maxLength",
                                            "pattern",
                                            "minimum",
                                            "maximum",
                                            "exclusiveMinimum",
                                            "exclusiveMaximum",
                                            "anyOf",
                                            "allOf",
                                            "oneOf",
                                            "$ref",
                                            "additionalItems"};

constexpr absl::string_view kUnsupported[] = {"not",
                                              "if",
                                              "then",
                                              "else",
                                              "patternProperties",
                                              "propertyNames",
                                              "dependencies",
                                              "dependentRequired",
                                              "dependentSchemas",
                                              "uniqueItems",
                                              "contains",
                                              "minContains",
                                              "maxContains",
                                              "multipleOf",
                                              "minProperties",
                                              "maxProperties",
                                              "unevaluatedItems",
                                              "unevaluatedProperties",
                                              "$dynamicRef",
                                              "$recursiveRef"};

template <typename List>
bool IsIn(absl::string_view word, const List& list) {
  return std::find(std::begin(list), std::end(list), word) != std::end(list);
}

absl::StatusOr<absl::flat_hash_set<std::string>> NamedTypes(const SchemaJson& type) {
  absl::flat_hash_set<std::string> types;
  const auto add = [&](const SchemaJson& name) {
    if (!name.is_string() || !IsIn(name.get_ref<const std::string&>(), kTypes)) return false;
    types.insert(name.get<std::string>());
    return true;
  };
  bool good = type.is_array() ? !type.empty() : add(type);
  if (type.is_array()) {
    for (const SchemaJson& name : type) good = good && add(name);
  }
  if (!good) return absl::InvalidArgumentError(absl::StrCat("unknown type ", type.dump()));
  // Whatever is an integer is a number.
  if (types.contains("number")) types.insert("integer");
  return types;
}

// The values of an enum or const; null if there are none.
SchemaJson ValuesOf(const SchemaJson& schema) {
  if (schema.contains("const")) return SchemaJson::array({schema["const"]});
  if (schema.contains("enum") && schema["enum"].is_array()) return schema["enum"];
  return nullptr;
}

bool ShareNoValue(const SchemaJson& a, const SchemaJson& b) {
  return std::none_of(a.begin(), a.end(), [&](const SchemaJson& value) {
    return std::find(b.begin(), b.end(), value) != b.end();
  });
}

bool Requires(const SchemaJson& schema, const std::string& name) {
  return schema.contains("required") && schema["required"].is_array() &&
         std::find(schema["required"].begin(), schema["required"].end(), SchemaJson(name)) !=
             schema["required"].end();
}

SchemaJson Intersection(const SchemaJson& a, const SchemaJson& b) {
  SchemaJson result = SchemaJson::array();
  for (const SchemaJson& value : a) {
    if (std::find(b.begin(), b.end(), value) != b.end()) result.push_back(value);
  }
  return result;
}

// Whether `closed` leaves out members that only `open` names: together they would need both lists.
absl::Status CheckClosed(const SchemaJson& closed, const SchemaJson& open) {
  if (!closed.contains("additionalProperties") || closed["additionalProperties"] == true ||
      !open.contains("properties")) {
    return absl::OkStatus();
  }
  for (const auto& [name, schema] : open["properties"].items()) {
    if (closed.contains("properties") && closed["properties"].contains(name)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("additionalProperties of one schema is about member \"", name,
                     "\" of another that it is combined with"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<SchemaDocument> SchemaDocument::Parse(absl::string_view text) {
  // Counted beforehand, without regard to strings: more than a schema ever has.
  int depth = 0;
  for (const char c : text) {
    depth += (c == '{' || c == '[') - (c == '}' || c == ']');
    if (depth > kMaxSchemaDepth) {
      return absl::InvalidArgumentError(
          absl::StrCat("is nested more than ", kMaxSchemaDepth, " deep"));
    }
  }
  SchemaJson root = SchemaJson::parse(text, nullptr, /*allow_exceptions=*/false);
  if (root.is_discarded()) return absl::InvalidArgumentError("is not JSON");
  if (!root.is_object() && !root.is_boolean()) {
    return absl::InvalidArgumentError("is neither an object nor true or false");
  }
  return SchemaDocument(std::move(root));
}

absl::StatusOr<const SchemaJson*> SchemaDocument::Resolve(absl::string_view reference) const {
  const auto missing = [&] {
    return absl::InvalidArgumentError(
        absl::StrCat("$ref ", reference, " refers to nothing in this document"));
  };
  if (!absl::StartsWith(reference, "#")) return missing();
  const SchemaJson* at = &root_;
  if (reference == "#") return at;
  if (!absl::StartsWith(reference, "#/")) return missing();
  for (const absl::string_view part : absl::StrSplit(reference.substr(2), '/')) {
    const std::string name =
        absl::StrReplaceAll(absl::StrReplaceAll(part, {{"~1", "/"}, {"%25", "%"}}), {{"~0", "~"}});
    size_t index = 0;
    if (at->is_object() && at->contains(name)) {
      at = &(*at)[name];
    } else if (at->is_array() && absl::SimpleAtoi(name, &index) && index < at->size()) {
      at = &(*at)[index];
    } else {
      return missing();
    }
  }
  if (!at->is_object() && !at->is_boolean()) return missing();
  return at;
}

bool SchemaDocument::Restricts(absl::string_view keyword) {
  return IsIn(keyword, kSupported) || IsIn(keyword, kUnsupported);
}

absl::Status SchemaDocument::CheckKeywords(const SchemaJson& schema) {
  for (const auto& [keyword, value] : schema.items()) {
    if (!IsIn(keyword, kUnsupported) || (keyword == "uniqueItems" && value == false)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("the keyword \"", keyword, "\" is not supported"));
  }
  return absl::OkStatus();
}

absl::StatusOr<SchemaJson> SchemaDocument::Followed(SchemaJson schema) const {
  for (int i = 0; i < kMaxReferences; ++i) {
    if (!schema.is_object() || !schema.contains("$ref")) return schema;
    if (!schema["$ref"].is_string()) return absl::InvalidArgumentError("$ref is not a string");
    ASSIGN_OR_RETURN(const SchemaJson* target, Resolve(schema["$ref"].get<std::string>()));
    SchemaJson rest = schema;
    rest.erase("$ref");
    SchemaJson followed = *target;
    if (followed.is_object()) {
      for (const auto& [keyword, value] : rest.items()) {
        if (keyword == "$ref") continue;
        RETURN_IF_ERROR(MergeKeyword(keyword, value, followed));
      }
    }
    schema = std::move(followed);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("more than ", kMaxReferences, " references lead to each other"));
}

absl::Status SchemaDocument::MergeKeyword(const std::string& keyword, const SchemaJson& value,
                                          SchemaJson& into) const {
  if (!into.contains(keyword)) {
    into[keyword] = value;
    return absl::OkStatus();
  }
  SchemaJson& old = into[keyword];
  if (old == value || !Restricts(keyword)) return absl::OkStatus();
  if (keyword == "properties" && old.is_object() && value.is_object()) {
    for (const auto& [name, schema] : value.items()) {
      if (old.contains(name)) {
        old[name] = SchemaJson{{"allOf", SchemaJson::array({old[name], schema})}};
      } else {
        old[name] = schema;
      }
    }
    return absl::OkStatus();
  }
  if (keyword == "required" && old.is_array() && value.is_array()) {
    for (const SchemaJson& name : value) {
      if (std::find(old.begin(), old.end(), name) == old.end()) old.push_back(name);
    }
    return absl::OkStatus();
  }
  if (keyword == "enum" && old.is_array() && value.is_array()) {
    old = Intersection(old, value);
    return absl::OkStatus();
  }
  if (keyword == "type") {
    ASSIGN_OR_RETURN(const auto ours, NamedTypes(old));
    ASSIGN_OR_RETURN(const auto theirs, NamedTypes(value));
    SchemaJson both = SchemaJson::array();
    for (const char* type : kTypes) {
      if (ours.contains(type) && theirs.contains(type)) both.push_back(type);
    }
    old = std::move(both);
    return absl::OkStatus();
  }
  const bool lower = absl::StartsWith(keyword, "min") || keyword == "exclusiveMinimum";
  const bool upper = absl::StartsWith(keyword, "max") || keyword == "exclusiveMaximum";
  if ((lower || upper) && old.is_number() && value.is_number()) {
    old = lower ? std::max(old, value) : std::min(old, value);
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("two values of \"", keyword, "\" cannot be combined"));
}

absl::StatusOr<SchemaJson> SchemaDocument::Both(const SchemaJson& a, const SchemaJson& b) const {
  ASSIGN_OR_RETURN(SchemaJson both, Followed(a));
  ASSIGN_OR_RETURN(const SchemaJson other, Followed(b));
  if (both.is_boolean()) return both == true ? other : both;
  if (other.is_boolean()) return other == true ? both : other;
  if (!both.is_object() || !other.is_object()) {
    return absl::InvalidArgumentError("a schema is neither an object nor true or false");
  }
  // Each alone says what of its own members it leaves out: together they would need both lists.
  RETURN_IF_ERROR(CheckClosed(both, other));
  RETURN_IF_ERROR(CheckClosed(other, both));
  for (const auto& [keyword, value] : other.items()) {
    RETURN_IF_ERROR(MergeKeyword(keyword, value, both));
  }
  return both;
}

absl::StatusOr<absl::flat_hash_set<std::string>> SchemaDocument::TypesOf(
    const SchemaJson& schema) const {
  if (schema.contains("type")) return NamedTypes(schema["type"]);
  return absl::flat_hash_set<std::string>(std::begin(kTypes), std::end(kTypes));
}

bool SchemaDocument::Exclude(const SchemaJson& first, const SchemaJson& second, int depth) const {
  // References may lead back here.
  if (depth > kMaxExcludeDepth) return false;
  const absl::StatusOr<SchemaJson> a = Followed(first);
  const absl::StatusOr<SchemaJson> b = Followed(second);
  if (!a.ok() || !b.ok() || !a->is_object() || !b->is_object()) return false;
  const SchemaJson values_a = ValuesOf(*a), values_b = ValuesOf(*b);
  if (values_a.is_array() && values_b.is_array()) return ShareNoValue(values_a, values_b);
  const auto types_a = TypesOf(*a), types_b = TypesOf(*b);
  if (!types_a.ok() || !types_b.ok()) return false;
  const bool share = std::any_of(types_a->begin(), types_a->end(),
                                 [&](const std::string& t) { return types_b->contains(t); });
  if (!share) return true;
  const bool objects = types_a->size() == 1 && types_a->contains("object") && *types_a == *types_b;
  if (!objects || !a->contains("properties") || !b->contains("properties")) return false;
  for (const auto& [name, schema] : (*a)["properties"].items()) {
    if (!Requires(*a, name) || !Requires(*b, name) || !(*b)["properties"].contains(name)) continue;
    if (Exclude(schema, (*b)["properties"][name], depth + 1)) return true;
  }
  return false;
}

}  // namespace transmla::grammar
