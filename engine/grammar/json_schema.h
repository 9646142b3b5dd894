// JSON schemas as constraints: every text that is allowed is a JSON document that is valid under
// the schema (draft 2020-12, and what draft 7 writes differently). Not every valid document is
// allowed:
//
// - members come in the order of "properties", those of "required" alone behind them;
// - members that "properties" does not name are written only if "additionalProperties" says so, or
// if
//   there are no "properties"; likewise items behind "prefixItems" need "items";
// - white space between tokens is limited (json_text.h), and so are digits: 15 before and behind
// the
//   point;
// - enum and const values are written without white space.
//
// Supported: type, enum, const, properties, required, additionalProperties, items, prefixItems,
// minItems, maxItems, minLength, maxLength, pattern, format (date, time, date-time, uuid, ipv4,
// email), minimum, maximum, exclusiveMinimum, exclusiveMaximum (whole numbers), anyOf, allOf, oneOf
// whose branches exclude each other by type, enum or a member's const, $ref within the document,
// $defs, true and false. Any other keyword that restricts is an error; annotations and unknown
// formats are not restrictions.
#ifndef TRANSMLA_ENGINE_GRAMMAR_JSON_SCHEMA_H_
#define TRANSMLA_ENGINE_GRAMMAR_JSON_SCHEMA_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "engine/grammar/grammar.h"

namespace transmla::grammar {

// InvalidArgument with the place in the schema of what is wrong or not supported.
absl::StatusOr<Grammar> JsonSchemaGrammar(absl::string_view schema);

}  // namespace transmla::grammar

#endif  // TRANSMLA_ENGINE_GRAMMAR_JSON_SCHEMA_H_
