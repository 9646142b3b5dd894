#include "engine/grammar/json_schema.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"

#include "engine/base/status.h"
#include "engine/grammar/json_text.h"
#include "engine/grammar/regex_syntax.h"
#include "engine/grammar/scanner.h"
#include "engine/grammar/schema_document.h"

namespace transmla::grammar {
namespace {

constexpr int kMaxDepth = 64;          // of schemas inside each other
constexpr int kMaxSchemas = 20'000;    // visited: combinations multiply
constexpr size_t kMaxOneOf = 128;      // each is compared with each
constexpr size_t kMaxNameBytes = 256;  // of a member

struct Format {
  const char* name;
  const char* pattern;
};
// Days are those that every month has.
constexpr Format kFormats[] = {
    {"date", R"(\d{4}-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8]))"},
    {"time", R"(([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d))"},
    {"date-time",
     R"(\d{4}-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d))"},
    {"uuid", "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"},
    {"ipv4", R"(((25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.){3}(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d))"},
    {"email",
     R"([a-z0-9_+-]{1,32}(\.[a-z0-9_+-]{1,16}){0,3}@[a-z0-9]{1,32}(\.[a-z0-9]{2,16}){1,3})"},
};

class Compiler {
 public:
  explicit Compiler(SchemaDocument document) : document_(std::move(document)), json_(&grammar_) {}

  absl::StatusOr<Grammar> Compile();

 private:
  // A place in the document, for messages.
  using Path = std::string;
  using Compiled = absl::StatusOr<ExpressionPtr>;

  Compiled Schema(const SchemaJson& schema, const Path& path);
  Compiled ObjectSchema(const SchemaJson& schema, const Path& path);
  Compiled Reference(const SchemaJson& schema, const Path& path);
  Compiled AllOf(const SchemaJson& schema, const Path& path);
  Compiled AnyOf(const SchemaJson& schema, const char* keyword, const Path& path);
  Compiled Values(const SchemaJson& schema, const Path& path);
  Compiled OfType(const std::string& type, const SchemaJson& schema, const Path& path);
  Compiled String(const SchemaJson& schema, const Path& path);
  Compiled Number(const SchemaJson& schema, bool integer, const Path& path);
  Compiled Array(const SchemaJson& schema, const Path& path);
  Compiled Object(const SchemaJson& schema, const Path& path);

  struct Member {
    ExpressionPtr text;
    bool required;
  };
  absl::StatusOr<std::vector<Member>> Members(const SchemaJson& schema, const SchemaJson& others,
                                              const Path& path, std::vector<std::string>& names);
  ExpressionPtr MemberList(const std::vector<Member>& members, const ExpressionPtr& other);

  static absl::Status Error(const Path& path, absl::string_view problem) {
    return absl::InvalidArgumentError(absl::StrCat("at ", path, ": ", problem));
  }
  // A count of 0 or more; `missing` if there is none.
  static absl::StatusOr<int> Count(const SchemaJson& schema, const char* keyword, int missing,
                                   const Path& path);

  const SchemaDocument document_;
  Grammar grammar_;
  JsonText json_;
  absl::flat_hash_map<std::string, int> references_;
  std::vector<std::pair<int, std::string>> open_references_;  // rules that are not written yet
  int depth_ = 0;
  int schemas_ = 0;
};

absl::StatusOr<Grammar> Compiler::Compile() {
  ASSIGN_OR_RETURN(ExpressionPtr root, Schema(document_.root(), "#"));
  grammar_.root = grammar_.Add("schema", std::move(root));
  while (!open_references_.empty()) {
    const auto [rule, reference] = open_references_.back();
    open_references_.pop_back();
    ASSIGN_OR_RETURN(const SchemaJson* schema, document_.Resolve(reference));
    ASSIGN_OR_RETURN(grammar_.rules[rule].expression, Schema(*schema, reference));
  }
  return std::move(grammar_);
}

Compiler::Compiled Compiler::Schema(const SchemaJson& schema, const Path& path) {
  if (schema.is_boolean()) return schema == true ? json_.Value() : Choice({});
  if (!schema.is_object()) return Error(path, "it is neither an object nor true or false");
  if (++schemas_ > kMaxSchemas) {
    return Error(path,
                 absl::StrCat("the combinations come to more than ", kMaxSchemas, " schemas"));
  }
  if (depth_ >= kMaxDepth)
    return Error(path, absl::StrCat("nested more than ", kMaxDepth, " deep"));
  ++depth_;
  Compiled compiled = ObjectSchema(schema, path);
  --depth_;
  return compiled;
}

Compiler::Compiled Compiler::ObjectSchema(const SchemaJson& schema, const Path& path) {
  if (const absl::Status status = SchemaDocument::CheckKeywords(schema); !status.ok()) {
    return Error(path, status.message());
  }
  if (schema.contains("$ref")) return Reference(schema, path);
  if (schema.contains("allOf")) return AllOf(schema, path);
  for (const char* keyword : {"anyOf", "oneOf"}) {
    if (schema.contains(keyword)) return AnyOf(schema, keyword, path);
  }
  if (schema.contains("const") || schema.contains("enum")) return Values(schema, path);
  if (!schema.contains("type")) {
    // A keyword about one type says which the author had in mind; any other would be valid too.
    const auto has = [&](std::initializer_list<const char*> keywords) {
      return std::any_of(keywords.begin(), keywords.end(),
                         [&](const char* keyword) { return schema.contains(keyword); });
    };
    if (has({"properties", "required", "additionalProperties"})) return Object(schema, path);
    if (has({"items", "prefixItems", "minItems", "maxItems"})) return Array(schema, path);
    if (has({"pattern", "minLength", "maxLength"})) return String(schema, path);
    if (has({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})) {
      return Number(schema, false, path);
    }
    return json_.Value();
  }
  const auto types = document_.TypesOf(schema);
  if (!types.ok()) return Error(path, types.status().message());
  std::vector<ExpressionPtr> choices;
  for (const char* type : {"object", "array", "string", "number", "integer", "boolean", "null"}) {
    if (!types->contains(type)) continue;
    if (type == std::string("integer") && types->contains("number")) continue;
    ASSIGN_OR_RETURN(ExpressionPtr choice, OfType(type, schema, path));
    choices.push_back(std::move(choice));
  }
  return Choice(std::move(choices));
}

Compiler::Compiled Compiler::Reference(const SchemaJson& schema, const Path& path) {
  if (!schema["$ref"].is_string()) return Error(path, "$ref is not a string");
  const bool alone =
      std::none_of(schema.items().begin(), schema.items().end(), [](const auto& item) {
        return item.key() != "$ref" && SchemaDocument::Restricts(item.key());
      });
  if (!alone) {
    absl::StatusOr<SchemaJson> both = document_.Both(schema, SchemaJson::object());
    if (!both.ok()) return Error(path, both.status().message());
    return Schema(*both, path);
  }
  const std::string reference = schema["$ref"].get<std::string>();
  const auto found = references_.find(reference);
  if (found != references_.end()) return Rule(found->second);
  if (const auto target = document_.Resolve(reference); !target.ok()) {
    return Error(path, target.status().message());
  }
  const int rule = grammar_.Add(reference);
  references_[reference] = rule;
  open_references_.emplace_back(rule, reference);
  return Rule(rule);
}

Compiler::Compiled Compiler::AllOf(const SchemaJson& schema, const Path& path) {
  if (!schema["allOf"].is_array()) return Error(path, "allOf is not an array");
  SchemaJson all = schema;
  all.erase("allOf");
  for (const SchemaJson& part : schema["allOf"]) {
    absl::StatusOr<SchemaJson> both = document_.Both(all, part);
    if (!both.ok()) return Error(path + "/allOf", both.status().message());
    all = *std::move(both);
  }
  return Schema(all, path);
}

Compiler::Compiled Compiler::AnyOf(const SchemaJson& schema, const char* keyword,
                                   const Path& path) {
  const SchemaJson& branches = schema[keyword];
  const Path here = absl::StrCat(path, "/", keyword);
  if (!branches.is_array() || branches.empty()) return Error(here, "it is not a list of schemas");
  if (keyword == std::string("oneOf")) {
    if (branches.size() > kMaxOneOf) {
      return Error(here, absl::StrCat("it has ", branches.size(), " schemas; at most ", kMaxOneOf));
    }
    for (size_t a = 0; a < branches.size(); ++a) {
      for (size_t b = 0; b < a; ++b) {
        if (document_.Exclude(branches[a], branches[b])) continue;
        return Error(here, absl::StrCat("schemas ", b, " and ", a,
                                        " may both allow the same document; use anyOf, or a member "
                                        "that is required and constant in each"));
      }
    }
  }
  SchemaJson rest = schema;
  rest.erase(keyword);
  std::vector<ExpressionPtr> choices;
  for (size_t i = 0; i < branches.size(); ++i) {
    const Path branch_path = absl::StrCat(here, "/", i);
    const bool alone = std::none_of(rest.items().begin(), rest.items().end(), [](const auto& item) {
      return SchemaDocument::Restricts(item.key());
    });
    if (alone) {
      ASSIGN_OR_RETURN(ExpressionPtr choice, Schema(branches[i], branch_path));
      choices.push_back(std::move(choice));
      continue;
    }
    absl::StatusOr<SchemaJson> both = document_.Both(rest, branches[i]);
    if (!both.ok()) return Error(branch_path, both.status().message());
    ASSIGN_OR_RETURN(ExpressionPtr choice, Schema(*both, branch_path));
    choices.push_back(std::move(choice));
  }
  return Choice(std::move(choices));
}

Compiler::Compiled Compiler::Values(const SchemaJson& schema, const Path& path) {
  SchemaJson values = SchemaJson::array();
  if (schema.contains("enum")) {
    if (!schema["enum"].is_array()) return Error(path, "enum is not an array");
    values = schema["enum"];
  } else {
    values.push_back(schema["const"]);
  }
  const auto types = document_.TypesOf(schema);
  if (!types.ok()) return Error(path, types.status().message());
  std::vector<ExpressionPtr> choices;
  for (const SchemaJson& value : values) {
    if (schema.contains("const") && schema["const"] != value) continue;
    const char* type = value.is_number_integer() ? "integer" : value.type_name();
    if (!types->contains(type)) continue;
    choices.push_back(Literal(value.dump()));
  }
  if (choices.empty()) return Error(path, "its values and its types exclude each other");
  return Choice(std::move(choices));
}

Compiler::Compiled Compiler::OfType(const std::string& type, const SchemaJson& schema,
                                    const Path& path) {
  if (type == "object") return Object(schema, path);
  if (type == "array") return Array(schema, path);
  if (type == "string") return String(schema, path);
  if (type == "number" || type == "integer") return Number(schema, type == "integer", path);
  if (type == "boolean") return Choice({Literal("true"), Literal("false")});
  return Literal("null");
}

absl::StatusOr<int> Compiler::Count(const SchemaJson& schema, const char* keyword, int missing,
                                    const Path& path) {
  if (!schema.contains(keyword)) return missing;
  const SchemaJson& value = schema[keyword];
  if (!value.is_number_integer() || value < 0 || value > 10 * kMaxRepetition) {
    return Error(path, absl::StrCat(keyword, " is ", value.dump(),
                                    "; it must be a whole number from 0 to ", 10 * kMaxRepetition));
  }
  return value.get<int>();
}

Compiler::Compiled Compiler::String(const SchemaJson& schema, const Path& path) {
  ASSIGN_OR_RETURN(const int least, Count(schema, "minLength", 0, path));
  ASSIGN_OR_RETURN(const int most, Count(schema, "maxLength", Expression::kUnbounded, path));
  if (most != Expression::kUnbounded && most < least) {
    return Error(path, "maxLength is below minLength");
  }
  const bool has_length = least > 0 || most != Expression::kUnbounded;
  RegexOptions options;
  options.spell = [](const CharSet& set) { return SpellInJson(set); };
  if (schema.contains("pattern")) {
    if (!schema["pattern"].is_string()) return Error(path, "pattern is not a string");
    if (has_length) {
      return Error(path,
                   "pattern together with minLength or maxLength is not supported; put the "
                   "counts into the pattern");
    }
    options.search = true;
    absl::StatusOr<ExpressionPtr> text =
        ParseRegex(schema["pattern"].get_ref<const std::string&>(), options);
    if (!text.ok()) return Error(path + "/pattern", text.status().message());
    return QuotedJson(*std::move(text));
  }
  if (schema.contains("format") && schema["format"].is_string() && !has_length) {
    for (const Format& format : kFormats) {
      if (schema["format"] != format.name) continue;
      ASSIGN_OR_RETURN(ExpressionPtr text, ParseRegex(format.pattern, options));
      return QuotedJson(std::move(text));
    }
  }
  return has_length ? json_.String(least, most) : json_.String();
}

Compiler::Compiled Compiler::Number(const SchemaJson& schema, bool integer, const Path& path) {
  NumberBounds bounds;
  bool bounded = false;
  const auto read = [&](const char* keyword, bool low, bool open) -> absl::Status {
    if (!schema.contains(keyword)) return absl::OkStatus();
    const SchemaJson& value = schema[keyword];
    if (!value.is_number() || value.get<double>() != std::floor(value.get<double>()) ||
        std::abs(value.get<double>()) > static_cast<double>(kMaxJsonInteger)) {
      return Error(path, absl::StrCat(keyword, " is ", value.dump(),
                                      "; it must be a whole number of at most 15 digits"));
    }
    const int64_t bound = static_cast<int64_t>(value.get<double>());
    std::optional<int64_t>& old = low ? bounds.low : bounds.high;
    bool& old_open = low ? bounds.low_open : bounds.high_open;
    const bool tighter = !old || (low ? bound > *old : bound < *old);
    if (tighter) {
      old = bound;
      old_open = open;
    } else if (bound == *old) {
      old_open = old_open || open;
    }
    bounded = true;
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(read("minimum", true, false));
  RETURN_IF_ERROR(read("exclusiveMinimum", true, true));
  RETURN_IF_ERROR(read("maximum", false, false));
  RETURN_IF_ERROR(read("exclusiveMaximum", false, true));
  if (!bounded) return integer ? json_.Integer() : json_.Number();
  return integer ? IntegerWithin(bounds) : NumberWithin(bounds);
}

Compiler::Compiled Compiler::Array(const SchemaJson& schema, const Path& path) {
  ASSIGN_OR_RETURN(const int least, Count(schema, "minItems", 0, path));
  ASSIGN_OR_RETURN(const int most, Count(schema, "maxItems", Expression::kUnbounded, path));
  const bool bounded = most != Expression::kUnbounded;
  // Draft 7: a list in "items" is today's "prefixItems", "additionalItems" today's "items".
  const bool old_style = schema.contains("items") && schema["items"].is_array();
  const char* prefix_keyword = old_style ? "items" : "prefixItems";
  const char* rest_keyword = old_style ? "additionalItems" : "items";
  std::vector<ExpressionPtr> prefix;
  if (schema.contains(prefix_keyword)) {
    if (!schema[prefix_keyword].is_array()) return Error(path, "prefixItems is not an array");
    for (const SchemaJson& item : schema[prefix_keyword]) {
      ASSIGN_OR_RETURN(ExpressionPtr text,
                       Schema(item, absl::StrCat(path, "/", prefix_keyword, "/", prefix.size())));
      prefix.push_back(std::move(text));
    }
  }
  const int prefixed = static_cast<int>(prefix.size());
  ExpressionPtr rest;
  if (schema.contains(rest_keyword)) {
    if (schema[rest_keyword] != false) {
      ASSIGN_OR_RETURN(rest, Schema(schema[rest_keyword], absl::StrCat(path, "/", rest_keyword)));
    }
  } else if (prefixed == 0 || least > prefixed) {
    rest = json_.Value();
  }
  if ((bounded && most < least) || (rest == nullptr && least > prefixed)) {
    return Error(path, "no number of items is allowed");
  }
  const int possible = rest == nullptr ? std::min(prefixed, bounded ? most : prefixed) : most;
  // From the last item to the first.
  ExpressionPtr items = Sequence({});
  if (rest != nullptr && (!bounded || most > prefixed)) {
    // The first item has no comma before it.
    const int before = std::max(prefixed, 1);
    items = Repeat(json_.Next(rest), std::max(least - before, 0),
                   bounded ? most - before : Expression::kUnbounded);
  }
  const int first = prefixed == 0 ? 0 : std::min(prefixed, bounded ? most : prefixed) - 1;
  for (int i = first; i >= 0; --i) {
    if (possible == 0) break;
    const ExpressionPtr item = prefixed == 0 ? rest : prefix[i];
    items = Sequence({i == 0 ? item : json_.Next(item), items});
    if (i == 0) items = Sequence({items, json_.Space()});
    if (i >= least) items = Optional(items);
  }
  return Sequence({Literal("["), json_.Space(), items, Literal("]")});
}

absl::StatusOr<std::vector<Compiler::Member>> Compiler::Members(const SchemaJson& schema,
                                                                const SchemaJson& others,
                                                                const Path& path,
                                                                std::vector<std::string>& names) {
  std::vector<std::string> required;
  if (schema.contains("required")) {
    if (!schema["required"].is_array()) return Error(path, "required is not an array");
    for (const SchemaJson& name : schema["required"]) {
      if (!name.is_string()) return Error(path, "required has a name that is not a string");
      required.push_back(name.get<std::string>());
    }
  }
  std::vector<Member> members;
  const auto add = [&](const std::string& name, const SchemaJson& value,
                       bool is_required) -> absl::Status {
    if (name.size() > kMaxNameBytes) {
      return Error(path, absl::StrCat("a member's name has ", name.size(), " bytes; at most ",
                                      kMaxNameBytes));
    }
    ASSIGN_OR_RETURN(ExpressionPtr text, Schema(value, absl::StrCat(path, "/properties/", name)));
    names.push_back(name);
    members.push_back(
        {json_.Member(Literal(SchemaJson(name).dump()), std::move(text)), is_required});
    return absl::OkStatus();
  };
  if (schema.contains("properties")) {
    if (!schema["properties"].is_object()) return Error(path, "properties is not an object");
    for (const auto& [name, value] : schema["properties"].items()) {
      const bool is_required = std::find(required.begin(), required.end(), name) != required.end();
      // A member that no value is valid for must be missing.
      if (value == false && !is_required) continue;
      RETURN_IF_ERROR(add(name, value, is_required));
    }
  }
  for (const std::string& name : required) {
    if (std::find(names.begin(), names.end(), name) != names.end()) continue;
    RETURN_IF_ERROR(add(name, others, true));
  }
  return members;
}

ExpressionPtr Compiler::MemberList(const std::vector<Member>& members, const ExpressionPtr& other) {
  // Two lists from each member on, made from the last to the first: with a comma before it, where a
  // member stands already, and without.
  ExpressionPtr more =
      other == nullptr ? Sequence({}) : Repeat(json_.Next(other), 0, Expression::kUnbounded);
  ExpressionPtr first = other == nullptr ? Sequence({}) : Optional(Sequence({other, more}));
  for (auto member = members.rbegin(); member != members.rend(); ++member) {
    // Both lists need it: as a rule, so that it is there once.
    const ExpressionPtr behind = Rule(grammar_.Add("members", more));
    const ExpressionPtr with = Sequence({member->text, behind});
    first = member->required ? with : Choice({with, first});
    const ExpressionPtr next = json_.Next(member->text);
    more = Sequence({member->required ? next : Optional(next), behind});
  }
  return first;
}

Compiler::Compiled Compiler::Object(const SchemaJson& schema, const Path& path) {
  SchemaJson others = !schema.contains("properties") || schema["properties"].empty();
  if (schema.contains("additionalProperties")) others = schema["additionalProperties"];
  std::vector<std::string> names;
  // A required member that nothing describes may have any value.
  ASSIGN_OR_RETURN(
      const std::vector<Member> members,
      Members(schema, schema.contains("additionalProperties") ? others : SchemaJson(true), path,
              names));
  ExpressionPtr other;
  if (others != false) {
    ASSIGN_OR_RETURN(ExpressionPtr value,
                     Schema(others, absl::StrCat(path, "/additionalProperties")));
    if (schema.contains("properties") && schema["properties"].is_object()) {
      // Also those that must be missing.
      for (const auto& [name, ignored] : schema["properties"].items()) names.push_back(name);
    }
    other = json_.Member(names.empty() ? json_.String() : StringOtherThan(names), std::move(value));
  }
  return Sequence(
      {Literal("{"), json_.Space(), MemberList(members, other), json_.Space(), Literal("}")});
}

}  // namespace

absl::StatusOr<Grammar> JsonSchemaGrammar(absl::string_view schema) {
  ASSIGN_OR_RETURN(SchemaDocument document, SchemaDocument::Parse(schema));
  return Compiler(std::move(document)).Compile();
}

}  // namespace transmla::grammar
