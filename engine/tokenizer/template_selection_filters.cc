// map, select, reject and their kin (template_sequence_filters.h).
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "engine/base/status.h"
#include "engine/tokenizer/template_operators.h"
#include "engine/tokenizer/template_sequence_filters.h"

namespace transmla::jinja {
namespace {

// The arguments after the first `count` positional ones.
Arguments Rest(const Arguments& arguments, size_t count) {
  return {{arguments.positional.begin() + static_cast<std::ptrdiff_t>(count),
           arguments.positional.end()},
          arguments.keyword};
}

absl::StatusOr<Value> MapAttribute(Runtime& runtime, const Value& input,
                                   const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bind("map", arguments, {"attribute", "default"}, 1));
  ASSIGN_OR_RETURN(const ListPtr list, Iterate(input, runtime.budget));
  std::vector<Value> mapped;
  for (const Value& item : list->items) {
    ASSIGN_OR_RETURN(Value value, AttributeOf(item, bound[0], runtime.budget));
    mapped.push_back(value.IsUndefined() && bound.Given(1) ? bound[1] : std::move(value));
  }
  return MakeList(std::move(mapped), runtime.budget);
}

// Keeps the items whose test answers `wanted`; the test is of an attribute if `of_attribute`.
absl::StatusOr<Value> Select(Runtime& runtime, const Value& input, const Arguments& arguments,
                             bool of_attribute, bool wanted) {
  const size_t skipped = of_attribute ? 1 : 0;
  if (arguments.positional.size() < skipped) {
    return absl::InvalidArgumentError("Missing parameter for attribute name");
  }
  const Value attribute = of_attribute ? arguments.positional[0] : Value();
  Builtin test = nullptr;
  Arguments rest;
  if (arguments.positional.size() > skipped) {
    const std::string* name = arguments.positional[skipped].IfText();
    if (name == nullptr) return absl::InvalidArgumentError("a test's name must be a text");
    test = FindTest(*name);
    if (test == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat("No test named '", *name, "'."));
    }
    rest = Rest(arguments, skipped + 1);
  }
  ASSIGN_OR_RETURN(const ListPtr list, Iterate(input, runtime.budget));
  std::vector<Value> kept;
  for (const Value& item : list->items) {
    ASSIGN_OR_RETURN(Value tested, AttributeOf(item, attribute, runtime.budget));
    RETURN_IF_ERROR(runtime.budget.Steps(1));
    if (test != nullptr) {
      ASSIGN_OR_RETURN(tested, test(runtime, tested, rest));
    }
    if (Truth(tested) == wanted) kept.push_back(item);
  }
  return MakeList(std::move(kept), runtime.budget);
}

}  // namespace

absl::StatusOr<Value> MapFilter(Runtime& runtime, const Value& input, const Arguments& arguments) {
  if (arguments.positional.empty()) return MapAttribute(runtime, input, arguments);
  const std::string* name = arguments.positional[0].IfText();
  if (name == nullptr) return absl::InvalidArgumentError("a filter's name must be a text");
  const Builtin filter = FindFilter(*name);
  if (filter == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("No filter named '", *name, "'."));
  }
  // A filter that applies filters by name would nest as deep as its arguments are many.
  if (filter == MapFilter) {
    return absl::InvalidArgumentError("map cannot be applied by map");
  }
  const Arguments rest = Rest(arguments, 1);
  ASSIGN_OR_RETURN(const ListPtr list, Iterate(input, runtime.budget));
  std::vector<Value> mapped;
  for (const Value& item : list->items) {
    RETURN_IF_ERROR(runtime.budget.Steps(1));
    ASSIGN_OR_RETURN(Value value, filter(runtime, item, rest));
    mapped.push_back(std::move(value));
  }
  return MakeList(std::move(mapped), runtime.budget);
}

absl::StatusOr<Value> SelectFilter(Runtime& runtime, const Value& input,
                                   const Arguments& arguments) {
  return Select(runtime, input, arguments, /*of_attribute=*/false, /*wanted=*/true);
}

absl::StatusOr<Value> RejectFilter(Runtime& runtime, const Value& input,
                                   const Arguments& arguments) {
  return Select(runtime, input, arguments, /*of_attribute=*/false, /*wanted=*/false);
}

absl::StatusOr<Value> SelectAttrFilter(Runtime& runtime, const Value& input,
                                       const Arguments& arguments) {
  return Select(runtime, input, arguments, /*of_attribute=*/true, /*wanted=*/true);
}

absl::StatusOr<Value> RejectAttrFilter(Runtime& runtime, const Value& input,
                                       const Arguments& arguments) {
  return Select(runtime, input, arguments, /*of_attribute=*/true, /*wanted=*/false);
}

}  // namespace transmla::jinja
