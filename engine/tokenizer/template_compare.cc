// The part of template_operators.h about truth, equality, order and membership.
#include <algorithm>

#include "absl/strings/str_cat.h"

#include "engine/base/status.h"
#include "engine/tokenizer/template_operators.h"
#include "engine/tokenizer/template_text.h"

namespace transmla::jinja {
namespace {

// Negative, zero or positive; numbers of different kinds compare by value.
int OrderOfNumbers(const Value& left, const Value& right) {
  if (left.IfInt() != nullptr && right.IfInt() != nullptr) {
    return *left.IfInt() < *right.IfInt() ? -1 : *left.IfInt() > *right.IfInt() ? 1 : 0;
  }
  const double a = AsFloat(left), b = AsFloat(right);
  return a < b ? -1 : a > b ? 1 : 0;
}

bool IsNan(const Value& value) {
  const double* number = value.IfFloat();
  return number != nullptr && *number != *number;
}

absl::StatusOr<bool> EqualLists(const List& left, const List& right, Budget& budget) {
  if (left.is_tuple != right.is_tuple || left.items.size() != right.items.size()) return false;
  for (size_t i = 0; i < left.items.size(); ++i) {
    ASSIGN_OR_RETURN(const bool equal, Equals(left.items[i], right.items[i], budget));
    if (!equal) return false;
  }
  return true;
}

absl::StatusOr<bool> EqualDicts(const Dict& left, const Dict& right, Budget& budget) {
  if (left.entries().size() != right.entries().size()) return false;
  for (const Dict::Entry& entry : left.entries()) {
    const Value* other = right.Find(*entry.key);
    if (other == nullptr) return false;
    ASSIGN_OR_RETURN(const bool equal, Equals(entry.value, *other, budget));
    if (!equal) return false;
  }
  return true;
}

absl::string_view Symbol(CompareOperator op) {
  static constexpr absl::string_view kSymbols[] = {
      "==", "!=", "<", "<=", ">", ">=", "in", "not in"};
  return kSymbols[static_cast<int>(op)];
}

bool Holds(CompareOperator op, int order) {
  switch (op) {
    case CompareOperator::kLess:
      return order < 0;
    case CompareOperator::kLessEqual:
      return order <= 0;
    case CompareOperator::kGreater:
      return order > 0;
    default:
      return order >= 0;
  }
}

absl::StatusOr<bool> InOrder(CompareOperator op, const Value& left, const Value& right,
                             Budget& budget) {
  RETURN_IF_ERROR(budget.Steps(1));
  if (left.IsNumber() && right.IsNumber()) {
    return !IsNan(left) && !IsNan(right) && Holds(op, OrderOfNumbers(left, right));
  }
  if (left.IfText() != nullptr && right.IfText() != nullptr) {
    // The order of UTF-8's bytes is that of code points.
    RETURN_IF_ERROR(budget.Read(std::min(left.IfText()->size(), right.IfText()->size())));
    return Holds(op, left.IfText()->compare(*right.IfText()));
  }
  const List *a = left.IfList(), *b = right.IfList();
  if (a != nullptr && b != nullptr && a->is_tuple == b->is_tuple) {
    for (size_t i = 0; i < std::min(a->items.size(), b->items.size()); ++i) {
      ASSIGN_OR_RETURN(const bool equal, Equals(a->items[i], b->items[i], budget));
      if (!equal) return InOrder(op, a->items[i], b->items[i], budget);
    }
    return Holds(op, a->items.size() < b->items.size() ? -1 : a->items.size() > b->items.size());
  }
  if (left.IsUndefined()) return absl::InvalidArgumentError(left.reason());
  return Misuse(right, absl::StrCat("'", Symbol(op), "' not supported between instances of '",
                                    left.TypeName(), "' and '", right.TypeName(), "'"));
}

absl::StatusOr<bool> Contains(const Value& container, const Value& item, Budget& budget) {
  if (container.IsUndefined()) return false;
  if (const std::string* text = container.IfText()) {
    const std::string* piece = item.IfText();
    if (piece == nullptr) {
      return Misuse(item, absl::StrCat("'in <string>' requires string as left operand, not ",
                                       item.TypeName()));
    }
    RETURN_IF_ERROR(budget.Read(text->size() + piece->size()));
    return FindText(*text, *piece) != std::string::npos;
  }
  if (const Dict* dict = container.IfDict()) {
    return item.IfText() != nullptr && dict->Find(*item.IfText()) != nullptr;
  }
  if (const List* list = container.IfList()) {
    for (const Value& other : list->items) {
      ASSIGN_OR_RETURN(const bool equal, Equals(item, other, budget));
      if (equal) return true;
    }
    return false;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("argument of type '", container.TypeName(), "' is not iterable"));
}

}  // namespace

bool Truth(const Value& value) {
  if (value.IsUndefined() || value.IsNone()) return false;
  if (value.IsNumber()) return AsFloat(value) != 0;
  if (const std::string* text = value.IfText()) return !text->empty();
  if (const List* list = value.IfList()) return !list->items.empty();
  if (const Dict* dict = value.IfDict()) return !dict->entries().empty();
  return true;
}

absl::StatusOr<bool> Equals(const Value& left, const Value& right, Budget& budget) {
  RETURN_IF_ERROR(budget.Steps(1));
  if (left.IsNumber() && right.IsNumber()) {
    return !IsNan(left) && !IsNan(right) && OrderOfNumbers(left, right) == 0;
  }
  if (left.IfText() != nullptr && right.IfText() != nullptr) {
    RETURN_IF_ERROR(budget.Read(std::min(left.IfText()->size(), right.IfText()->size())));
    return *left.IfText() == *right.IfText();
  }
  if (left.IfList() != nullptr && right.IfList() != nullptr) {
    return EqualLists(*left.IfList(), *right.IfList(), budget);
  }
  if (left.IfDict() != nullptr && right.IfDict() != nullptr) {
    return EqualDicts(*left.IfDict(), *right.IfDict(), budget);
  }
  if (left.IfNamespace() != nullptr) return left.IfNamespace() == right.IfNamespace();
  return (left.IsNone() && right.IsNone()) || (left.IsUndefined() && right.IsUndefined());
}

absl::StatusOr<bool> Compare(CompareOperator op, const Value& left, const Value& right,
                             Budget& budget) {
  switch (op) {
    case CompareOperator::kEqual:
      return Equals(left, right, budget);
    case CompareOperator::kNotEqual: {
      ASSIGN_OR_RETURN(const bool equal, Equals(left, right, budget));
      return !equal;
    }
    case CompareOperator::kIn:
      return Contains(right, left, budget);
    case CompareOperator::kNotIn: {
      ASSIGN_OR_RETURN(const bool inside, Contains(right, left, budget));
      return !inside;
    }
    default:
      return InOrder(op, left, right, budget);
  }
}

}  // namespace transmla::jinja
