// Filters that go through the items of a value; FindFilter knows them by name.
#ifndef TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_SEQUENCE_FILTERS_H_
#define TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_SEQUENCE_FILTERS_H_

#include "absl/status/statusor.h"

#include "engine/tokenizer/template_callable.h"

namespace transmla::jinja {

// Each is a Builtin with Jinja's parameters, but for this: where Jinja gives a lazy sequence, these
// give a list.
absl::StatusOr<Value> LengthFilter(Runtime&, const Value&, const Arguments&);
absl::StatusOr<Value> FirstFilter(Runtime&, const Value&, const Arguments&);
absl::StatusOr<Value> LastFilter(Runtime&, const Value&, const Arguments&);
absl::StatusOr<Value> ListFilter(Runtime&, const Value&, const Arguments&);
absl::StatusOr<Value> ItemsFilter(Runtime&, const Value&, const Arguments&);
absl::StatusOr<Value> JoinFilter(Runtime&, const Value&, const Arguments&);
absl::StatusOr<Value> ReverseFilter(Runtime&, const Value&, const Arguments&);
absl::StatusOr<Value> SumFilter(Runtime&, const Value&, const Arguments&);

// template_selection_filters.cc
absl::StatusOr<Value> MapFilter(Runtime&, const Value&, const Arguments&);
absl::StatusOr<Value> SelectFilter(Runtime&, const Value&, const Arguments&);
absl::StatusOr<Value> RejectFilter(Runtime&, const Value&, const Arguments&);
absl::StatusOr<Value> SelectAttrFilter(Runtime&, const Value&, const Arguments&);
absl::StatusOr<Value> RejectAttrFilter(Runtime&, const Value&, const Arguments&);

// template_order_filters.cc
absl::StatusOr<Value> SortFilter(Runtime&, const Value&, const Arguments&);
absl::StatusOr<Value> DictSortFilter(Runtime&, const Value&, const Arguments&);
absl::StatusOr<Value> UniqueFilter(Runtime&, const Value&, const Arguments&);
absl::StatusOr<Value> MaxFilter(Runtime&, const Value&, const Arguments&);
absl::StatusOr<Value> MinFilter(Runtime&, const Value&, const Arguments&);

// What `attribute` of an item is: "a.b" goes down two levels, an integer is an index, undefined or
// none stands for the item itself.
absl::StatusOr<Value> AttributeOf(const Value& item, const Value& attribute, Budget& budget);

}  // namespace transmla::jinja

#endif  // TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_SEQUENCE_FILTERS_H_
