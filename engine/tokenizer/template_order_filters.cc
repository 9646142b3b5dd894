// sort, dictsort, unique, max and min (template_sequence_filters.h).
#include <algorithm>
#include <utility>
#include <vector>

#include "engine/base/status.h"
#include "engine/tokenizer/template_operators.h"
#include "engine/tokenizer/template_sequence_filters.h"
#include "engine/tokenizer/template_text.h"

namespace transmla::jinja {
namespace {

struct Keyed {
  Value key;
  Value item;
};

// What an item is ordered by: an attribute, in lower case unless case matters.
absl::StatusOr<Value> KeyOf(const Value& item, const Value& attribute, bool case_sensitive,
                            Budget& budget) {
  ASSIGN_OR_RETURN(Value key, AttributeOf(item, attribute, budget));
  if (case_sensitive || key.IfText() == nullptr) return key;
  return MakeText(Lower(*key.IfText()), budget);
}

absl::StatusOr<std::vector<Keyed>> WithKeys(const Value& input, const Value& attribute,
                                            bool case_sensitive, Budget& budget) {
  ASSIGN_OR_RETURN(const ListPtr list, Iterate(input, budget));
  std::vector<Keyed> keyed;
  for (const Value& item : list->items) {
    RETURN_IF_ERROR(budget.Write(sizeof(Keyed)));
    ASSIGN_OR_RETURN(Value key, KeyOf(item, attribute, case_sensitive, budget));
    keyed.push_back({std::move(key), item});
  }
  return keyed;
}

// Stable, also in reverse. Fails if two keys have no order.
absl::StatusOr<Value> Sorted(std::vector<Keyed> keyed, bool reverse, Budget& budget) {
  absl::Status failure;
  const CompareOperator before = reverse ? CompareOperator::kGreater : CompareOperator::kLess;
  std::stable_sort(keyed.begin(), keyed.end(), [&](const Keyed& a, const Keyed& b) {
    if (!failure.ok()) return false;  // all are equal from here on, which ends the sort soon
    const absl::StatusOr<bool> answer = Compare(before, a.key, b.key, budget);
    if (answer.ok()) return *answer;
    failure = answer.status();
    return false;
  });
  RETURN_IF_ERROR(failure);
  std::vector<Value> items;
  items.reserve(keyed.size());
  for (Keyed& entry : keyed) items.push_back(std::move(entry.item));
  return MakeList(std::move(items), budget);
}

// The first item whose key no other's is `better` than.
absl::StatusOr<Value> Extreme(Runtime& runtime, const Value& input, const Arguments& arguments,
                              CompareOperator better) {
  ASSIGN_OR_RETURN(const Bound bound,
                   Bind("max or min", arguments, {"case_sensitive", "attribute"}));
  ASSIGN_OR_RETURN(const std::vector<Keyed> keyed,
                   WithKeys(input, bound[1], bound.Flag(0, false), runtime.budget));
  if (keyed.empty()) return Value::Undefined("No aggregated item, sequence was empty.");
  const Keyed* best = &keyed.front();
  for (size_t i = 1; i < keyed.size(); ++i) {
    ASSIGN_OR_RETURN(const bool wins, Compare(better, keyed[i].key, best->key, runtime.budget));
    if (wins) best = &keyed[i];
  }
  return best->item;
}

}  // namespace

absl::StatusOr<Value> SortFilter(Runtime& runtime, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound,
                   Bind("sort", arguments, {"reverse", "case_sensitive", "attribute"}));
  ASSIGN_OR_RETURN(std::vector<Keyed> keyed,
                   WithKeys(input, bound[2], bound.Flag(1, false), runtime.budget));
  return Sorted(std::move(keyed), bound.Flag(0, false), runtime.budget);
}

absl::StatusOr<Value> DictSortFilter(Runtime& runtime, const Value& input,
                                     const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound,
                   Bind("dictsort", arguments, {"case_sensitive", "by", "reverse"}));
  ASSIGN_OR_RETURN(const absl::string_view by, bound.Text(1, "key"));
  if (by != "key" && by != "value") {
    return absl::InvalidArgumentError("You can only sort by either \"key\" or \"value\"");
  }
  ASSIGN_OR_RETURN(const Value pairs, ItemsFilter(runtime, input, {}));
  ASSIGN_OR_RETURN(std::vector<Keyed> keyed, WithKeys(pairs, Value::Int(by == "key" ? 0 : 1),
                                                      bound.Flag(0, false), runtime.budget));
  return Sorted(std::move(keyed), bound.Flag(2, false), runtime.budget);
}

absl::StatusOr<Value> UniqueFilter(Runtime& runtime, const Value& input,
                                   const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bind("unique", arguments, {"case_sensitive", "attribute"}));
  ASSIGN_OR_RETURN(const std::vector<Keyed> keyed,
                   WithKeys(input, bound[1], bound.Flag(0, false), runtime.budget));
  std::vector<const Value*> seen;
  std::vector<Value> items;
  for (const Keyed& entry : keyed) {
    bool is_new = true;
    for (const Value* key : seen) {
      ASSIGN_OR_RETURN(const bool equal, Equals(*key, entry.key, runtime.budget));
      is_new = is_new && !equal;
    }
    if (!is_new) continue;
    seen.push_back(&entry.key);
    items.push_back(entry.item);
  }
  return MakeList(std::move(items), runtime.budget);
}

absl::StatusOr<Value> MaxFilter(Runtime& runtime, const Value& input, const Arguments& arguments) {
  return Extreme(runtime, input, arguments, CompareOperator::kGreater);
}

absl::StatusOr<Value> MinFilter(Runtime& runtime, const Value& input, const Arguments& arguments) {
  return Extreme(runtime, input, arguments, CompareOperator::kLess);
}

}  // namespace transmla::jinja
