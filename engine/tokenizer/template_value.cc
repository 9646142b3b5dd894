#include "engine/tokenizer/template_value.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

#include "engine/base/status.h"
#include "engine/tokenizer/template_callable.h"
#include "engine/tokenizer/template_limits.h"

namespace transmla::jinja {
namespace {

absl::Status CheckDepth(int depth) {
  if (depth <= kMaxValueDepth) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "a value holds lists or objects in each other beyond the limit of ", kMaxValueDepth));
}

absl::StatusOr<Value> MakeSequence(std::vector<Value> items, bool is_tuple, Budget& budget) {
  RETURN_IF_ERROR(budget.Write(sizeof(List) + items.size() * sizeof(Value)));
  int depth = 1;
  for (const Value& item : items) {
    RETURN_IF_ERROR(CheckStorable(item));
    depth = std::max(depth, item.depth() + 1);
  }
  RETURN_IF_ERROR(CheckDepth(depth));
  return Value::Of(std::make_shared<const List>(List{std::move(items), is_tuple, depth}));
}

}  // namespace

Value Value::Undefined(std::string reason) {
  return Value(UndefinedTag{std::make_shared<const std::string>(std::move(reason))});
}

absl::string_view Value::reason() const {
  const TextPtr& reason = std::get<UndefinedTag>(data_).reason;
  return reason == nullptr ? absl::string_view("a missing argument is undefined") : *reason;
}

absl::string_view Value::TypeName() const {
  static constexpr absl::string_view kNames[] = {"Undefined", "NoneType",    "bool",    "int",
                                                 "float",     "str",         "list",    "dict",
                                                 "Namespace", "LoopContext", "function"};
  static_assert(std::size(kNames) == std::variant_size_v<decltype(data_)>);
  if (const List* list = IfList(); list != nullptr && list->is_tuple) return "tuple";
  return kNames[data_.index()];
}

int Value::depth() const {
  if (const List* list = IfList()) return list->depth;
  if (const Dict* dict = IfDict()) return dict->depth();
  return 0;
}

size_t Dict::IndexOf(absl::string_view key) const {
  if (entries_.size() > kLinear) {
    const auto found = index_.find(key);
    return found == index_.end() ? entries_.size() : found->second;
  }
  const auto found = std::find_if(entries_.begin(), entries_.end(),
                                  [&](const Entry& entry) { return *entry.key == key; });
  return static_cast<size_t>(found - entries_.begin());
}

const Value* Dict::Find(absl::string_view key) const {
  const size_t i = IndexOf(key);
  return i == entries_.size() ? nullptr : &entries_[i].value;
}

absl::Status Dict::Set(TextPtr key, Value value, Budget& budget) {
  RETURN_IF_ERROR(CheckStorable(value));
  RETURN_IF_ERROR(budget.Write(2 * sizeof(Entry)));
  depth_ = std::max(depth_, value.depth() + 1);
  RETURN_IF_ERROR(CheckDepth(depth_));
  if (const size_t i = IndexOf(*key); i < entries_.size()) {
    entries_[i].value = std::move(value);
    return absl::OkStatus();
  }
  entries_.push_back({std::move(key), std::move(value)});
  if (entries_.size() == kLinear + 1) {
    for (size_t i = 0; i < entries_.size(); ++i) index_.emplace(*entries_[i].key, i);
  } else if (entries_.size() > kLinear) {
    index_.emplace(*entries_.back().key, entries_.size() - 1);
  }
  return absl::OkStatus();
}

absl::Status CheckStorable(const Value& value) {
  if (value.IfNamespace() == nullptr && value.IfLoop() == nullptr &&
      value.IfCallable() == nullptr) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("a ", value.TypeName(), " cannot be put into a list, an object or a namespace"));
}

absl::StatusOr<Value> MakeList(std::vector<Value> items, Budget& budget) {
  return MakeSequence(std::move(items), /*is_tuple=*/false, budget);
}

absl::StatusOr<Value> MakeTuple(std::vector<Value> items, Budget& budget) {
  return MakeSequence(std::move(items), /*is_tuple=*/true, budget);
}

absl::StatusOr<Value> MakeText(absl::string_view text, Budget& budget) {
  TextBuilder builder(budget);
  builder.Append(text);
  return MakeText(builder);
}

absl::StatusOr<Value> MakeText(TextBuilder& builder) {
  if (!builder.ok()) return builder.status();
  return Value::Text(builder.Take());
}

}  // namespace transmla::jinja
