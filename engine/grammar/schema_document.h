// SchemaDocument: a JSON schema as a document: references, combinations and what is supported.
#ifndef TRANSMLA_ENGINE_GRAMMAR_SCHEMA_DOCUMENT_H_
#define TRANSMLA_ENGINE_GRAMMAR_SCHEMA_DOCUMENT_H_

#include <string>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include <nlohmann/json.hpp>

namespace transmla::grammar {

// Keeps the order of members: it is the order in which they are written.
using SchemaJson = nlohmann::ordered_json;

class SchemaDocument {
 public:
  // InvalidArgument if `text` is not JSON, or is neither an object nor true or false.
  static absl::StatusOr<SchemaDocument> Parse(absl::string_view text);

  const SchemaJson& root() const { return root_; }
  // What "#", "#/$defs/name" … refers to. InvalidArgument if nothing.
  absl::StatusOr<const SchemaJson*> Resolve(absl::string_view reference) const;

  // Two schemas in one, which allows what both do. InvalidArgument where this cannot be said in
  // one schema. References are replaced by what they refer to.
  absl::StatusOr<SchemaJson> Both(const SchemaJson& a, const SchemaJson& b) const;

  // The types that a schema allows: "integer" is one of its own, beside "number".
  absl::StatusOr<absl::flat_hash_set<std::string>> TypesOf(const SchemaJson& schema) const;
  // Whether no document can be valid under both, as far as types, enums and members with constant
  // values tell.
  bool Exclude(const SchemaJson& a, const SchemaJson& b) const { return Exclude(a, b, 0); }

  // InvalidArgument naming a keyword of `schema` that restricts and is not supported.
  static absl::Status CheckKeywords(const SchemaJson& schema);
  // Whether a keyword restricts what is valid.
  static bool Restricts(absl::string_view keyword);

 private:
  // `depth` members below the two that were asked about.
  bool Exclude(const SchemaJson& a, const SchemaJson& b, int depth) const;
  explicit SchemaDocument(SchemaJson root) : root_(std::move(root)) {}
  // The schema itself, or, for one that is a reference alone, what it refers to.
  absl::StatusOr<SchemaJson> Followed(SchemaJson schema) const;
  absl::Status MergeKeyword(const std::string& keyword, const SchemaJson& value,
                            SchemaJson& into) const;

  SchemaJson root_;
};

}  // namespace transmla::grammar

#endif  // TRANSMLA_ENGINE_GRAMMAR_SCHEMA_DOCUMENT_H_
